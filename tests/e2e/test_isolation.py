"""No request is affected by other requests."""

import asyncio
import random
from pathlib import Path

import grpc
import pytest
from tests.e2e.callers import call, serving, wait_for_metric
from tests.e2e.event_log import EventLog, Run
from tests.e2e.synthetic_models import image_with_work, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

ROUNDS = 2
QUICK_CALLS = 40


async def test_corrupt_images_and_cancelled_calls_do_not_affect_64_valid_calls(
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

        async def canceller(turns: int) -> None:
            call = stub.Classify(_request(digits[0].read_bytes()), timeout=60)
            for _ in range(turns):
                await asyncio.to_thread(lambda: None)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)

        for _ in range(ROUNDS):
            calls = [
                *(good(place) for place in range(64)),
                corrupt(),
                *(canceller(chance.randrange(12)) for _ in range(16)),
            ]
            chance.shuffle(calls)
            await asyncio.gather(*calls)


@pytest.fixture(scope="module")
def isolation(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[grpc.StatusCode], EventLog]:
    """Returns status codes and the event log of three phases.

    A crowd without deadlines alone; one long call while two others arrive; the crowd beside a model with short
    timeouts. The codes are those of the second phase: of the long call, of one whose deadline is too short to wait for
    it, and of one without a deadline.
    """
    folder = tmp_path_factory.mktemp("isolation")
    write_model(folder / "models", "obedient", work_unit_seconds=0.01, config="max_batch_size = 4\n")
    write_model(folder / "models", "slow", 0.002, config="max_batch_size = 16\n")
    write_model(folder / "models", "quick", config="max_batch_size = 1\n")
    with serving(folder, "--streams", "1") as server:
        codes = asyncio.run(_call(server, folder / "trace"))
    return codes, EventLog(folder / "trace")


async def _call(server: ServerProcess, event_log: Path) -> list[grpc.StatusCode]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        # First, before any call has a deadline: on a slow machine the short timeouts below would limit these batches,
        # too.
        await asyncio.gather(*(call(stub, request("slow")) for _ in range(64)))
        codes = await _wait_beside_a_busy_device(server, stub)
        while not _expired_while_running(
            EventLog(event_log)
        ):  # repeats if the machine was too busy: a call arrived too late, or expired on its way
            codes = await _wait_beside_a_busy_device(server, stub)
        table = (await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)).batch_latencies
        # Half the duration of the largest batch: too short for a call that arrives just after one has started. More
        # calls than the slow model loses images by smaller batches; all of them may expire if the machine is busy.
        while not EventLog(event_log).requests("quick"):
            timeout = max(row.seconds for row in table) / 2
            await asyncio.gather(*(call(stub, request("quick"), timeout) for _ in range(QUICK_CALLS)))
        await asyncio.gather(*(call(stub, request("slow")) for _ in range(32)))
    return codes


async def _wait_beside_a_busy_device(server: ServerProcess, stub: ClassifierServiceStub) -> list[grpc.StatusCode]:
    running = asyncio.create_task(call(stub, request("obedient", image_with_work(100))))
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", lambda count: count == 1 or running.done())
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_queue_depth", lambda count: count == 0)
    late, neighbour = call(stub, request("obedient"), 0.2), call(stub, request("obedient"))
    return [reply.code for reply in await asyncio.gather(running, late, neighbour)]


def _expired_while_running(event_log: EventLog) -> list[tuple[int, Run]]:
    """Returns the requests that expired during the run in which they arrived, each with that run."""
    runs = [run for run in event_log.runs if run.model == "obedient"]
    with_deadline = [
        number for number in event_log.requests("obedient") if event_log.admitted[number]["deadline"] is not None
    ]
    return [
        (number, run)
        for number in with_deadline
        for run in runs
        if run.started_at < event_log.admitted[number]["at"]
        and event_log.admitted[number]["deadline"] + 0.2 < run.ended_at
    ]


Isolation = tuple[list[grpc.StatusCode], EventLog]


@pytest.mark.slow
def test_an_image_that_expires_while_it_waits_is_not_run_but_its_neighbour_is(
    isolation: Isolation,
) -> None:
    """While the device is busy, one of two waiting calls expires: it ends in time, and the other is answered."""
    codes, event_log = isolation
    assert codes == [grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.OK]
    event_log.check()
    ((expired, running),) = _expired_while_running(event_log)
    assert expired not in event_log.run_order("obedient")
    assert event_log.ended[expired]["at"] < running.ended_at


@pytest.mark.slow
def test_many_short_timeouts_of_another_model_limit_the_batch_size(isolation: Isolation) -> None:
    _, event_log = isolation
    quick = event_log.requests("quick")[0]
    sizes = {since: _sizes(event_log, quick, since) for since in (False, True)}
    assert max(sizes[True]) < max(sizes[False])


def _sizes(event_log: EventLog, quick: int, since: bool) -> list[int]:
    """Returns the slow model's batch sizes before or after the arrival of the quick model's call."""
    arrived_at = event_log.admitted[quick]["at"]
    return [
        len(run.requests) for run in event_log.runs if run.model == "slow" and (run.started_at > arrived_at) is since
    ]


def _request(encoded: bytes) -> v1.ClassifyRequest:
    return v1.ClassifyRequest(image=v1.Image(encoded=encoded), model="lenet")
