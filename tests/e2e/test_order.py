"""Who goes first on a busy device, and how it is shared.

What is promised is promised in device seconds, so the trace is asked for those: where a machine stands still for a
moment, whoever had the device then is charged for it, and others rightly go first.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import grpc
import pytest
from tests.e2e.callers import burst, serving, wait_for_metric
from tests.e2e.fragile import asking, request, write_model
from tests.e2e.tracing import Run, Trace

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS
from linnaeus.v1 import classifier_pb2 as v1

OK = grpc.StatusCode.OK
RANKS = ("high", "normal", "low")
# Runs of one flow that its share does not govern: two images were decoded before the last choice and one was running,
# and as many again where the decoder was late with the others' next ones.
AHEAD = 6


@dataclass(frozen=True, slots=True)
class Flow:
    """What some requests had of the only stream before a run, in device seconds as they are charged for."""

    least_seconds: float
    most_seconds: float


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """One stream that is busy while others queue up, in three acts: the trace of who went next.

    Where a busy run was over before the others had all come, the machine needs a longer one.
    """
    folder = tmp_path_factory.mktemp("ordered")
    models = folder / "models"
    one = "max_batch_size = 1\n"
    write_model(models, "busy", asked_seconds=0.01, config=one)
    # Images that cost next to nothing: fairness is asked only where the machine stands still in one of them.
    write_model(models, "ranked", config="max_batch_size = 2\n")
    write_model(models, "heavy", 0.012, config=one + "weight = 4.0\n")
    write_model(models, "light", 0.012, config=one)
    write_model(models, "even", 0.012, config=one + "priority_weights = {high = 1.0, normal = 1.0, low = 1.0}\n")
    work = 40
    while True:
        with serving(folder, "--streams", "1", "--decode-threads", "1") as server:
            asyncio.run(_fill_the_queue(server, work))
        trace = Trace(folder / "trace")
        if _all_waited(trace):
            return trace
        work = min(3 * work, 255)


async def _fill_the_queue(server: ServerProcess, work: int) -> None:
    ranks = [v1.PRIORITY_LOW] * 8 + [v1.PRIORITY_NORMAL] * 8 + [v1.PRIORITY_HIGH] * 8
    acts = [
        [request("ranked", priority=rank) for rank in ranks],
        [request("light")] * 40 + [request("heavy")] * 40,
        [request("even", priority=v1.PRIORITY_LOW)] * 30 + [request("even", priority=v1.PRIORITY_HIGH)] * 30,
    ]
    for act in acts:
        busy = asyncio.create_task(burst(server, [request("busy", asking(work))]))
        begun: Callable[[float], bool] = lambda count, busy=busy: count == 1 or busy.done()  # noqa: E731
        await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", begun)
        await asyncio.to_thread(wait_for_metric, server, "linnaeus_queue_depth", lambda count: count == 0)
        assert {reply.code for reply in await burst(server, act) + await busy} == {OK}


def _all_waited(trace: Trace) -> bool:
    """Whether all requests of each act came while its busy run lasted."""
    busy = [trace.run_of(number) for number in trace.requests("busy")]
    acts = (trace.requests("ranked"), trace.requests("light") + trace.requests("heavy"), trace.requests("even"))
    return all(
        run.began_at < trace.admitted[number]["at"] < run.ended_at
        for run, act in zip(busy, acts, strict=True)
        for number in act
    )


def test_high_priority_overtakes_normal_and_low(ordered: Trace) -> None:
    """None goes before a higher one that waits, unless those of the higher class had a moment more than their share."""
    ordered.check()
    order = ordered.order_run("ranked")
    assert len(order) == 24
    rank = {number: RANKS.index(ordered.admitted[number]["priority"]) for number in order}
    classes = {each: [number for number in order if rank[number] == each] for each in rank.values()}
    too_soon = []
    for place, number in enumerate(order):
        passed = {rank[later] for later in order[place:] if rank[later] < rank[number]}
        had = [_had(ordered, classes[each], ordered.run_of(number)).most_seconds for each in passed]
        if had and min(had) <= FAIRNESS_SECONDS:
            too_soon.append(number)
    # When the first three came there was nobody else: what is to be taken soon, a batch and a half, is decoded ahead.
    assert len(too_soon) <= 3


def test_a_busy_device_is_shared_by_weight(ordered: Trace) -> None:
    """By the heavy model's last image, the light one has had a quarter of what that had, and no more than a moment."""
    light, heavy = ordered.requests("light"), ordered.requests("heavy")
    last = _last(ordered, heavy)
    fair = _had(ordered, heavy, last).most_seconds / 4 + FAIRNESS_SECONDS
    assert _had(ordered, light, last).least_seconds <= fair + _ahead_seconds(ordered, light)


def test_even_priority_weights_give_the_low_ones_their_half(ordered: Trace) -> None:
    low, high = (ordered.requests("even", priority=name) for name in ("low", "high"))
    last = _last(ordered, high)
    fair = _had(ordered, high, last).least_seconds - FAIRNESS_SECONDS
    assert _had(ordered, low, last).most_seconds >= fair - _ahead_seconds(ordered, high)


def _last(trace: Trace, requests: Iterable[int]) -> Run:
    return max((trace.run_of(number) for number in requests), key=lambda run: run.number)


def _ahead_seconds(trace: Trace, requests: Iterable[int]) -> float:
    """What the longest `AHEAD` runs of these requests took together."""
    runs = (trace.run_of(number) for number in requests)
    return sum(sorted(run.ended_at - run.began_at for run in runs)[-AHEAD:])


def _had(trace: Trace, requests: Iterable[int], before: Run) -> Flow:
    """A run is charged for until its stream asks for the next one: after its end, and before that one begins."""
    own, least, most = set(requests), 0.0, 0.0
    for run, following in zip(trace.runs, trace.runs[1:], strict=False):
        if run.number < before.number:
            part = sum(number in own for number in run.requests) / len(run.requests)
            least += part * (run.ended_at - run.began_at)
            most += part * (following.began_at - run.began_at)
    return Flow(least, most)
