"""No request is harmed by its neighbours."""

import asyncio
import random
from pathlib import Path

import grpc
import pytest
from tests.e2e.callers import call, serving, wait_for_metric
from tests.e2e.fragile import asking, request, write_model
from tests.e2e.tracing import Run, Trace

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

ROUNDS = 2


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


@pytest.fixture(scope="module")
def neighbours(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[grpc.StatusCode], Trace]:
    """A patient crowd alone, one call that is busy while two others come, the crowd beside a hasty model: codes, trace.

    The codes are those of the obedient model: of the call that keeps the device busy, of one that cannot wait for it,
    and of one that can.
    """
    folder = tmp_path_factory.mktemp("neighbours")
    write_model(folder / "models", "obedient", asked_seconds=0.01, config="max_batch_size = 4\n")
    write_model(folder / "models", "slow", 0.002, config="max_batch_size = 16\n")
    write_model(folder / "models", "quick", config="max_batch_size = 1\n")
    with serving(folder, "--streams", "1") as server:
        codes = asyncio.run(_call(server, folder / "trace"))
    return codes, Trace(folder / "trace")


async def _call(server: ServerProcess, trace: Path) -> list[grpc.StatusCode]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        # First, while nobody has a deadline yet: on a slow machine those of the calls below would hold these, too.
        await asyncio.gather(*(call(stub, request("slow")) for _ in range(64)))
        codes = await _wait_beside_a_busy_device(server, stub)
        while not _in_vain(Trace(trace)):  # the machine was too busy: one call came too late, or expired on its way
            codes = await _wait_beside_a_busy_device(server, stub)
        table = (await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)).batch_latencies
        # Half as much time as the largest batch takes: too little for whoever comes just after one has begun.
        while not Trace(trace).requests("quick"):  # the machine may be too busy for the first ones
            await call(stub, request("quick"), max(row.seconds for row in table) / 2)
        await asyncio.gather(*(call(stub, request("slow")) for _ in range(32)))
    return codes


async def _wait_beside_a_busy_device(server: ServerProcess, stub: ClassifierServiceStub) -> list[grpc.StatusCode]:
    busy = asyncio.create_task(call(stub, request("obedient", asking(100))))
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", lambda count: count == 1 or busy.done())
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_queue_depth", lambda count: count == 0)
    late, neighbour = call(stub, request("obedient"), 0.2), call(stub, request("obedient"))
    return [reply.code for reply in await asyncio.gather(busy, late, neighbour)]


def _in_vain(trace: Trace) -> list[tuple[int, Run]]:
    """The requests that could not wait for the end of the run that was going on when they came, and those runs."""
    runs = [run for run in trace.runs if run.model == "obedient"]
    hurried = [number for number in trace.requests("obedient") if trace.admitted[number]["deadline"] is not None]
    return [
        (number, run)
        for number in hurried
        for run in runs
        if run.began_at < trace.admitted[number]["at"] and trace.admitted[number]["deadline"] + 0.2 < run.ended_at
    ]


Neighbours = tuple[list[grpc.StatusCode], Trace]


def test_an_image_whose_deadline_passes_while_it_waits_is_never_run_and_its_neighbour_is(
    neighbours: Neighbours,
) -> None:
    """A busy device, then two calls, one of which cannot wait: it ends in time, the other one as if it were alone."""
    codes, trace = neighbours
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK]
    trace.check()
    ((expired, busy),) = _in_vain(trace)
    assert expired not in trace.order_run("obedient")
    assert trace.ended[expired]["at"] < busy.ended_at


def test_no_batch_is_longer_than_the_tightest_deadline_of_a_model_beside_it_allows(neighbours: Neighbours) -> None:
    _, trace = neighbours
    quick = trace.requests("quick")[0]
    sizes = {since: _sizes(trace, quick, since) for since in (False, True)}
    assert max(sizes[True]) < max(sizes[False])


def _sizes(trace: Trace, quick: int, since: bool) -> list[int]:
    """How large the slow model's batches were, before or since the quick one's call."""
    came = trace.admitted[quick]["at"]
    return [len(run.requests) for run in trace.runs if run.model == "slow" and (run.began_at > came) is since]


def _request(encoded: bytes) -> v1.ClassifyRequest:
    return v1.ClassifyRequest(image=v1.Image(encoded=encoded), model="lenet")
