"""The order of requests on a busy device, and how its time is shared.

The promises are in device seconds, so the checks use device seconds from the event log: if the machine stalls, the flow
that has the device at that moment is charged, and others correctly go first.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
import pytest
from tests.e2e.callers import burst, serving, wait_for_metric
from tests.e2e.event_log import EventLog, Run
from tests.e2e.synthetic_models import image_with_work, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS
from linnaeus.v1 import classifier_pb2 as v1

pytestmark = pytest.mark.slow
OK = grpc.StatusCode.OK
RANKS = ("high", "normal", "low")
# Runs of one flow that its share does not govern: two images were decoded before the last decision and one was running,
# and as many again if the decoder was late with the other flow's next images.
RUNS_AHEAD = 6


@dataclass(frozen=True, slots=True)
class DeviceSeconds:
    """The device seconds charged to some requests before a run, as bounds."""

    least_seconds: float
    most_seconds: float


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> EventLog:
    """The event log of one worker that is busy while requests queue up, in three bursts.

    If a busy run ended before the whole burst had arrived, the bursts are repeated with a longer run.
    """
    folder = tmp_path_factory.mktemp("ordered")
    models = folder / "models"
    one = "max_batch_size = 1\n"
    write_model(models, "busy", work_unit_seconds=0.01, config=one)
    # Images that cost almost nothing: fairness matters only if the machine stalls during one of them.
    write_model(models, "ranked", config="max_batch_size = 2\n")
    write_model(models, "heavy", 0.012, config=one + "weight = 4.0\n")
    write_model(models, "light", 0.012, config=one)
    write_model(models, "even", 0.012, config=one + "priority_weights = {high = 1.0, normal = 1.0, low = 1.0}\n")
    work = 40
    while True:
        with serving(folder, "--streams", "1", "--decode-threads", "1") as server:
            asyncio.run(_fill_the_queue(server, work))
        event_log = EventLog(folder / "trace")
        if _all_arrived_in_time(event_log):
            return event_log
        work = min(3 * work, 255)


async def _fill_the_queue(server: ServerProcess, work: int) -> None:
    ranks = [v1.PRIORITY_LOW] * 8 + [v1.PRIORITY_NORMAL] * 8 + [v1.PRIORITY_HIGH] * 8
    bursts = [
        [request("ranked", priority=rank) for rank in ranks],
        [request("light")] * 40 + [request("heavy")] * 40,
        [request("even", priority=v1.PRIORITY_LOW)] * 60 + [request("even", priority=v1.PRIORITY_HIGH)] * 60,
    ]
    for burst_requests in bursts:
        busy = asyncio.create_task(burst(server, [request("busy", image_with_work(work))]))
        is_running: Callable[[float], bool] = lambda count, busy=busy: count == 1 or busy.done()  # noqa: E731
        await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", is_running)
        await asyncio.to_thread(wait_for_metric, server, "linnaeus_queue_depth", lambda count: count == 0)
        assert {reply.code for reply in await burst(server, burst_requests) + await busy} == {OK}


def _all_arrived_in_time(event_log: EventLog) -> bool:
    """Whether all requests of each burst arrived during its busy run."""
    busy = [event_log.run_of(number) for number in event_log.requests("busy")]
    bursts = (
        event_log.requests("ranked"),
        event_log.requests("light") + event_log.requests("heavy"),
        event_log.requests("even"),
    )
    return all(
        run.started_at < event_log.admitted[number]["at"] < run.ended_at
        for run, burst_requests in zip(busy, bursts, strict=True)
        for number in burst_requests
    )


def test_high_priority_goes_before_normal_and_low(ordered: EventLog) -> None:
    """A lower priority goes first only if the higher one has exceeded its share by `FAIRNESS_SECONDS`."""
    ordered.check()
    order = ordered.run_order("ranked")
    assert len(order) == 24
    rank = {number: RANKS.index(ordered.admitted[number]["priority"]) for number in order}
    classes = {each: [number for number in order if rank[number] == each] for each in rank.values()}
    too_soon = []
    for place, number in enumerate(order):
        passed = {rank[later] for later in order[place:] if rank[later] < rank[number]}
        used = [_device_seconds(ordered, classes[each], ordered.run_of(number)).most_seconds for each in passed]
        if used and min(used) <= FAIRNESS_SECONDS:
            too_soon.append(number)
    # The first three arrived before any others: a batch and a half is decoded ahead.
    assert len(too_soon) <= 3


def test_a_busy_device_is_shared_by_model_weight(ordered: EventLog) -> None:
    """With a weight of 4 to 1 the light model uses a quarter of what the heavy one does; without weights, as much."""
    light, heavy = ordered.requests("light"), ordered.requests("heavy")
    last = _last(ordered, heavy)
    at_most = _device_seconds(ordered, heavy, last).most_seconds / 2 + FAIRNESS_SECONDS
    assert _device_seconds(ordered, light, last).least_seconds <= at_most + _ahead_seconds(ordered, light)


def test_equal_priority_weights_give_low_priority_its_half(ordered: EventLog) -> None:
    """Low uses nearly as much as high does; with the default weights, a hundredth of that and the tolerance."""
    low, high = (ordered.requests("even", priority=name) for name in ("low", "high"))
    last = _last(ordered, high)
    high_seconds = _device_seconds(ordered, high, last).least_seconds
    assert _device_seconds(ordered, low, last).most_seconds >= high_seconds / 3


def _last(event_log: EventLog, requests: Iterable[int]) -> Run:
    return max((event_log.run_of(number) for number in requests), key=lambda run: run.number)


def _ahead_seconds(event_log: EventLog, requests: Iterable[int]) -> float:
    """Returns the total duration of the longest `RUNS_AHEAD` runs of these requests."""
    runs = (event_log.run_of(number) for number in requests)
    return sum(sorted(run.ended_at - run.started_at for run in runs)[-RUNS_AHEAD:])


def _device_seconds(event_log: EventLog, requests: Iterable[int], before: Run) -> DeviceSeconds:
    """Bounds the charged time: a run is charged until its worker takes the next one, some time after its end."""
    own, least, most = set(requests), 0.0, 0.0
    for run, following in zip(event_log.runs, event_log.runs[1:], strict=False):
        if run.number < before.number:
            part = sum(number in own for number in run.requests) / len(run.requests)
            least += part * (run.ended_at - run.started_at)
            most += part * (following.started_at - run.started_at)
    return DeviceSeconds(least, most)
