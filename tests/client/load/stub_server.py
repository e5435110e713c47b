"""A server without a model: a script sets how long each call takes; it reports what it did.

Run as `python stub_server.py SCRIPT` with SCRIPT in JSON; it prints one line, `{"port": P}`, serves until its standard
input ends, then prints one line of JSON with what it did. An image without the first bytes of a JPEG, PNG or GIF file,
or of less than 16 bytes, is refused. SCRIPT's keys, all optional:
    seconds: latencies, taken in turn; [0.0] by default.
    one_at_a_time: whether calls wait for each other; false by default.
    stall: [start, length] in seconds since the first call; every call that comes in between waits for its end.
    codes: status codes by number, taken in turn; [0] by default.
    labels: labels of the answers, taken in turn; ["cat"] by default.
    processes: that share the port; each counts its turns for itself; 1 by default.
"""

import asyncio
import json
import multiprocessing
import socket
import sys
import time
from contextlib import nullcontext
from itertools import cycle

import grpc

from linnaeus.v1 import classifier_pb2 as messages

SERVICE = "linnaeus.v1.ClassifierService"
MARKS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8")
NEVER = float("inf")


class Stub:
    """Answers by its script; `seconds` holds the real duration of each call."""

    def __init__(self, script):
        self.latencies = cycle(script.get("seconds", [0.0]))
        self.codes = cycle(script.get("codes", [0]))
        labels = script.get("labels", ["cat"])
        self.answers = cycle([self._answer(label) for label in labels])
        self.stall_start, self.stall_length = script.get("stall", [NEVER, 0.0])
        self.turn = asyncio.Lock() if script.get("one_at_a_time") else nullcontext()
        self.started = None
        self.seconds = []
        self.pictures = 0

    @staticmethod
    def _answer(label):
        classes = [messages.ScoredClass(index=1, label=label, probability=0.75)]
        return messages.ClassifyResponse(classes=classes, model="stub", version=1, batch_size=1)

    async def wait(self):
        came = time.monotonic()
        self.started = self.started or came
        wanted = next(self.latencies)
        stall_ends = self.started + self.stall_start + self.stall_length
        if self.started + self.stall_start <= came < stall_ends:
            wanted += stall_ends - came
        async with self.turn:
            await asyncio.sleep(wanted)
        self.seconds.append(time.monotonic() - came)

    def outcome(self, image):
        """Returns the code and the answer for an image."""
        self.pictures += 1
        if len(image.encoded) < 16 or not image.encoded.startswith(MARKS):
            return grpc.StatusCode.INVALID_ARGUMENT.value[0], None
        return next(self.codes), next(self.answers)

    async def classify(self, request, context):
        await self.wait()
        code, answer = self.outcome(messages.ClassifyRequest.FromString(request).image)
        if code:
            await context.abort(next(each for each in grpc.StatusCode if each.value[0] == code), "as scripted")
        return answer.SerializeToString()

    async def classify_batch(self, request, context):
        await self.wait()
        message = messages.ClassifyBatchRequest.FromString(request)
        results = [self.result(image) for image in message.images]
        return messages.ClassifyBatchResponse(results=results, model="stub", version=1).SerializeToString()

    def result(self, image):
        code, answer = self.outcome(image)
        if code:
            return messages.ImageResult(image_id=image.id, error=messages.ImageError(code=code, message="as scripted"))
        classification = messages.Classification(classes=answer.classes, batch_size=1)
        return messages.ImageResult(image_id=image.id, classification=classification)

    async def stream_classify(self, requests, context):
        answered = asyncio.Queue()
        reading = asyncio.create_task(self._read(requests, answered))
        while (answer := await answered.get()) is not None:
            yield answer
        await reading

    async def _read(self, requests, answered):
        tasks = [asyncio.create_task(self._one(each, answered)) async for each in requests]
        await asyncio.gather(*tasks)
        await answered.put(None)

    async def _one(self, request, answered):
        await self.wait()
        message = messages.StreamClassifyRequest.FromString(request)
        answer = messages.StreamClassifyResponse(
            correlation_id=message.correlation_id, result=self.result(message.image), model="stub", version=1
        )
        await answered.put(answer.SerializeToString())


def handlers(stub):
    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Classify": grpc.unary_unary_rpc_method_handler(stub.classify),
            "ClassifyBatch": grpc.unary_unary_rpc_method_handler(stub.classify_batch),
            "StreamClassify": grpc.stream_stream_rpc_method_handler(stub.stream_classify),
        },
    )


async def serve(script, port, ready, stop):
    stub = Stub(script)
    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers([handlers(stub)])
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ready()
    await asyncio.get_running_loop().run_in_executor(None, stop)
    await server.stop(None)
    return stub


def child(script, port, pipe):
    stub = asyncio.run(serve(script, port, lambda: pipe.send("ready"), pipe.recv))
    pipe.send((stub.seconds, stub.pictures))


def main():
    script = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.bind(("127.0.0.1", 0))
        report = run(script, held.getsockname()[1])
    print(json.dumps(report), flush=True)


def run(script, port):
    context = multiprocessing.get_context("spawn")
    pipes, seconds, pictures = [], [], 0
    for _ in range(script.get("processes", 1)):
        ours, theirs = context.Pipe()
        context.Process(target=child, args=(script, port, theirs), daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    print(json.dumps({"port": port}), flush=True)
    sys.stdin.read()
    for pipe in pipes:
        pipe.send("stop")
        more, count = pipe.recv()
        seconds += more
        pictures += count
    return {"seconds": seconds, "pictures": pictures}


if __name__ == "__main__":
    main()
