"""Who goes first on a busy device, and how it is shared."""

import asyncio

import grpc
import pytest
from tests.e2e.callers import burst, serving, wait_for_metric
from tests.e2e.fragile import asking, request, write_model
from tests.e2e.tracing import Trace

from linnaeus.server.process import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1

OK = grpc.StatusCode.OK


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """One stream that is busy while others queue up: the trace of who went next."""
    folder = tmp_path_factory.mktemp("ordered")
    models = folder / "models"
    one = "max_batch_size = 1\n"
    write_model(models, "busy", asked_seconds=0.01, config=one)
    # Images that cost next to nothing: fairness, which would let the low ones have a little in between, is not asked.
    write_model(models, "ranked", config="max_batch_size = 2\n")
    write_model(models, "heavy", 0.012, config=one + "weight = 4.0\n")
    write_model(models, "light", 0.012, config=one)
    write_model(models, "even", 0.012, config=one + "priority_weights = {high = 1.0, normal = 1.0, low = 1.0}\n")
    with serving(folder, "--streams", "1", "--decode-threads", "1") as server:
        asyncio.run(_fill_the_queue(server))
    return Trace(folder / "trace")


async def _fill_the_queue(server: ServerProcess) -> None:
    ranks = [v1.PRIORITY_LOW] * 8 + [v1.PRIORITY_NORMAL] * 8 + [v1.PRIORITY_HIGH] * 8
    acts = [
        [request("ranked", priority=rank) for rank in ranks],
        [request("light")] * 40 + [request("heavy")] * 40,
        [request("even", priority=v1.PRIORITY_LOW)] * 20 + [request("even", priority=v1.PRIORITY_HIGH)] * 20,
    ]
    busy = asyncio.create_task(burst(server, [request("busy", asking(100))]))
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", lambda count: count == 1)
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_queue_depth", lambda count: count == 0)
    for act in acts:
        assert {reply.code for reply in await burst(server, act)} == {OK}
    assert {reply.code for reply in await busy} == {OK}


def test_high_priority_overtakes_normal_and_low(ordered: Trace) -> None:
    ordered.check()
    (busy,) = (ordered.run_of(number) for number in ordered.requests("busy"))
    waited = [number for number in ordered.requests("ranked") if ordered.admitted[number]["at"] < busy.ended_at]
    assert len(waited) == 24, "the busy run was to last until all others were admitted"
    # The first three came when there was nobody else: what is to be taken soon, a batch and a half, is decoded ahead.
    ahead = ordered.requests("ranked")[:3]
    order = [ordered.admitted[each]["priority"] for each in ordered.order_run("ranked") if each not in ahead]
    assert order == sorted(order, key=("high", "normal", "low").index)


def test_a_busy_device_is_shared_by_weight(ordered: Trace) -> None:
    """Eighty images of equal cost: by the heavy model's last one, the light one has had about a quarter as many."""
    assert _gone_before_the_last(ordered, ordered.requests("light"), ordered.requests("heavy")) < 24


def test_even_priority_weights_give_the_low_ones_their_half(ordered: Trace) -> None:
    low, high = (ordered.requests("even", priority=name) for name in ("low", "high"))
    assert _gone_before_the_last(ordered, low, high) > 6


def _gone_before_the_last(trace: Trace, some: list[int], others: list[int]) -> int:
    """How many of some ran before the last of the others."""
    last = max(trace.run_of(number).number for number in others)
    return sum(trace.run_of(number).number < last for number in some)
