"""The control: what the machine leaves to good callers when an attack merely burns processor time.

A bare grpc.aio server that knows a good call by its bytes. It answers every other call with an error as soon as gRPC
has read it, so that an attacker's own cost and gRPC's are counted, and nothing else. Good calls are decoded and run by
the server's own decoder and model, one by one in as many threads as there are cores, without a queue of its own,
admission or batches. No server that has to find out who is good can do better, but by batches.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import grpc

from benchmarks.attack.paced_calls import Message
from benchmarks.common.child_process import ChildProcess
from linnaeus.v1 import classifier_pb2 as v1

_OPTIONS = [("grpc.max_receive_message_length", 32 * 1024 * 1024), ("grpc.so_reuseport", 0)]
_MOST_PIXELS = 50_000_000
_REFUSED = v1.StreamClassifyResponse(
    result=v1.ImageResult(error=v1.ImageError(code=8, message="refused"))
).SerializeToString()


@contextmanager
def control_server(version: Path, good: Message) -> Iterator[tuple[str, int]]:
    """Runs the control in a process of its own; yields its address and process id.

    Args:
        version: the folder of the model version that good calls ask for.
        good: the one call that is answered.
    """
    child = ChildProcess(_main, version, good)
    try:
        yield child.first_message, child.pid
    finally:
        child.kill()


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, good: Message, engine: "_Engine") -> None:
        self._good, self._engine = good, engine
        self._unary: Any = grpc.unary_unary_rpc_method_handler(self._call)
        self._stream: Any = grpc.stream_stream_rpc_method_handler(_refuse_each)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._stream if "Stream" in handler_call_details.method else self._unary

    async def _call(self, request: bytes, context: Any) -> bytes:
        if request != self._good.content:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")
        return await self._engine.classify(request)


class _Engine:
    """Classifies images by the server's own decoder and runtime, each on one of a few threads."""

    def __init__(self, version: Path) -> None:
        import torch  # only here: the process that starts the control must not import it

        from linnaeus.server.decoding.decode import decode
        from linnaeus.server.process.thread_priority import lower_priority
        from linnaeus.server.requests.picture import EncodedImage
        from linnaeus.server.runtime.device import CoreShare, configure_process
        from linnaeus.server.runtime.model_loading import load_model

        configure_process(0)
        cpu, threads = torch.device("cpu"), len(os.sched_getaffinity(0))
        model = load_model(version, cpu, 1)

        def begin() -> None:
            lower_priority()
            CoreShare(cpu, 0).take(threads - 1)

        def run(request: bytes) -> bytes:
            image = EncodedImage(v1.ClassifyRequest.FromString(request).image.encoded)
            best = model.run([decode(image, model.manifest.input, _MOST_PIXELS)], 1)[0]
            scored = v1.ScoredClass(index=best.indices[0], label=model.labels[best.indices[0]])
            return v1.ClassifyResponse(classes=[scored], model=model.manifest.name).SerializeToString()

        self._run, self._threads = run, ThreadPoolExecutor(threads, initializer=begin)

    async def classify(self, request: bytes) -> bytes:
        """Classifies one image; a call that is cancelled before a thread takes it is not run."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, request)


async def _refuse_each(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield _REFUSED


def _main(connection: Connection, version: Path, good: Message) -> None:
    import uvloop  # as in the server that it is compared with

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(connection, _Handlers(good, _Engine(version))))


async def _serve(connection: Connection, handlers: _Handlers) -> None:
    server = grpc.aio.server(options=_OPTIONS)
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()
