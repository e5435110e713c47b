"""A gRPC server that refuses every call at once: the cost of a refusal without any code of this project."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import grpc

from benchmarks.common.child_process import ChildProcess


@contextmanager
def rejecting_server() -> Iterator[str]:
    """Runs the server in a process of its own and yields its address."""
    child = ChildProcess(_main)
    try:
        yield child.first_message
    finally:
        child.kill()


class _AnyMethod(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(request: bytes, context: Any) -> bytes:
    await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the answer would come too late")
    return b""


def _main(connection: Connection) -> None:
    import uvloop  # as in the server that it is compared with

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(connection))


async def _serve(connection: Connection) -> None:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((_AnyMethod(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    connection.send(f"127.0.0.1:{port}")
    await server.wait_for_termination()
