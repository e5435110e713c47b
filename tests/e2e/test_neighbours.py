"""No request is harmed by its neighbours."""

import asyncio
import random
from pathlib import Path

import grpc

from linnaeus.server.process import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

ROUNDS = 5


async def test_a_corrupt_image_and_callers_that_cancel_harm_none_of_64_good_ones(
    server: ServerProcess, pictures: Path
) -> None:
    digits = sorted((pictures / "digits").glob("*.png"))
    chance = random.Random(11)
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)

        async def good(place: int) -> None:
            path = digits[place % len(digits)]
            answer = await stub.Classify(_request(path.read_bytes()), timeout=60)
            assert answer.classes[0].label == path.stem

        async def corrupt() -> None:
            try:
                await stub.Classify(_request(digits[0].read_bytes()[:80]), timeout=60)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            else:
                raise AssertionError("a corrupt image was classified")

        async def leaver(turns: int) -> None:
            call = stub.Classify(_request(digits[0].read_bytes()), timeout=60)
            for _ in range(turns):
                await asyncio.to_thread(lambda: None)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        for _ in range(ROUNDS):
            calls = [
                *(good(place) for place in range(64)),
                corrupt(),
                *(leaver(chance.randrange(12)) for _ in range(16)),
            ]
            chance.shuffle(calls)
            await asyncio.gather(*calls)


async def test_a_caller_s_deadline_reaches_the_device_and_a_late_image_is_never_run(
    server: ServerProcess, pictures: Path
) -> None:
    """A busy device, then a call whose deadline passes while it waits: it ends in time and is not among the runs."""
    picture = (pictures / "coffee.jpg").read_bytes()
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        busy = [stub.Classify(_request(picture, "efficientnet_lite0"), timeout=60) for _ in range(32)]
        late = stub.Classify(_request(picture, "efficientnet_lite0"), timeout=0.001)
        outcome = (await asyncio.gather(late, return_exceptions=True))[0]
        assert isinstance(outcome, grpc.aio.AioRpcError)
        assert outcome.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        answers = await asyncio.gather(*busy)
        assert {answer.classes[0].label for answer in answers} == {"espresso"}


def _request(encoded: bytes, model: str = "lenet") -> v1.ClassifyRequest:
    return v1.ClassifyRequest(image=v1.Image(encoded=encoded), model=model)
