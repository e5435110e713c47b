"""What is promised under overload, and where callers vanish: nothing is run in vain. The trace tells."""

import asyncio
import math
import subprocess
import sys
import urllib.request
from collections import Counter
from dataclasses import dataclass

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.e2e import callers
from tests.e2e.callers import Reply, call, serving, wait_for_metric
from tests.e2e.fragile import request, write_model
from tests.e2e.tracing import Trace

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

OK = grpc.StatusCode.OK
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
IMAGE_SECONDS = 0.02
OVERLOAD = 4  # times what the model can do on a quiet machine; on a busy one it is more
LOAD_SECONDS = 2.0  # at least


@dataclass(frozen=True, slots=True)
class Overload:
    """What an overloaded server said: to each call, of which each had so much time, and to all else that was asked.

    The trace goes on with the calls, all without a deadline, of a crowd whose process was killed.
    """

    timeout_seconds: float
    replies: list[Reply]
    answered: Counter[str]
    trace: Trace


@pytest.fixture(scope="module")
def overload(tmp_path_factory: pytest.TempPathFactory) -> Overload:
    """Several times what the server can do, then callers that vanish."""
    folder = tmp_path_factory.mktemp("overload")
    write_model(folder / "models", "slow", IMAGE_SECONDS, config="max_batch_size = 4\n")
    with serving(folder, "--streams", "1") as server:
        timeout_seconds, replies, answered = asyncio.run(_overload(server))
        _crowd_that_is_killed(server)
    return Overload(timeout_seconds, replies, answered, Trace(folder / "trace"))


async def _overload(server: ServerProcess) -> tuple[float, list[Reply], Counter[str]]:
    answered: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    async def one(due: float) -> Reply:
        await asyncio.sleep(due - loop.time())  # an open loop: nobody waits for answers
        return await call(stub, request("slow"), timeout_seconds)

    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        table = (await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)).batch_latencies
        images_per_second = OVERLOAD / IMAGE_SECONDS
        timeout_seconds = max(4 * max(row.seconds for row in table), 0.3)
        # Long enough for a queue that nobody else could be answered behind in time.
        load_seconds = max(LOAD_SECONDS, 1.5 * timeout_seconds)
        calls, begin = math.ceil(images_per_second * load_seconds), loop.time()
        load = asyncio.gather(*(one(begin + place / images_per_second) for place in range(calls)))
        while not load.done():
            await _ask_the_rest(channel, server, answered)
        return timeout_seconds, await load, answered


async def _ask_the_rest(channel: grpc.aio.Channel, server: ServerProcess, answered: Counter[str]) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    answered["health"] += health.status == health_pb2.HealthCheckResponse.SERVING
    models = await ClassifierServiceStub(channel).ListModels(v1.ListModelsRequest(), timeout=30)
    answered["models"] += len(models.models)
    answered["metrics"] += "linnaeus_in_flight" in await asyncio.to_thread(_scrape, server)


def _scrape(server: ServerProcess) -> str:
    with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
        return page.read().decode()


def _crowd_that_is_killed(server: ServerProcess) -> None:
    crowd = subprocess.Popen([sys.executable, callers.__file__, server.target, "slow", "200"])
    try:
        wait_for_metric(server, "linnaeus_in_flight", lambda count: count >= 64)
    finally:
        crowd.kill()
        crowd.wait()
    wait_for_metric(server, "linnaeus_in_flight", lambda count: count == 0)


def test_nothing_expired_runs_and_every_request_ends_once_under_overload(overload: Overload) -> None:
    replies, trace = overload.replies, overload.trace
    trace.check()
    assert {reply.code for reply in replies} == {OK, DEADLINE_EXCEEDED}
    assert len(_hurried(trace)) + len(trace.refused) <= len(replies)  # a call may be over before it arrives
    assert all(event["reason"] == "deadline" for event in trace.refused.values())
    assert sum(reply.code is OK for reply in replies) <= len(_hurried(trace) & set(trace.order_run("slow")))


def test_a_refusal_says_why_and_most_come_long_before_the_deadline(overload: Overload) -> None:
    replies, trace, timeout_seconds = overload.replies, overload.trace, overload.timeout_seconds
    told = [reply.refusal for reply in replies if reply.refusal]
    at_once = [info for info in told if float(info.metadata["predicted_wait_seconds"]) > 0]
    assert len(at_once) > len(replies) / 4 and {info.reason for info in told} == {"DEADLINE_CANNOT_BE_MET"}
    for info in at_once:
        predicted, late_by = (float(info.metadata[key]) for key in ("predicted_wait_seconds", "late_by_seconds"))
        assert 0 < late_by < predicted, "the wait is above the time allowed, by what the answer would be late"
        assert predicted - late_by <= timeout_seconds + 0.01  # gRPC sends three digits, rounded up
    early = [event["deadline"] - event["at"] > timeout_seconds / 2 for event in trace.refused.values()]
    assert sum(early) > len(early) / 2


def test_most_of_what_is_run_is_answered_in_time_under_overload(overload: Overload) -> None:
    """Admitting everything and hoping for the best runs images whose callers have left by then."""
    trace = overload.trace
    ran = _hurried(trace) & set(trace.order_run("slow"))
    in_time = [trace.ended[number]["outcome"] == "answered" for number in ran]
    assert in_time and sum(in_time) > len(in_time) / 2


def test_health_models_and_metrics_answer_all_the_while(overload: Overload) -> None:
    answered = overload.answered
    assert min(answered["health"], answered["models"], answered["metrics"]) >= 1
    assert len(set(answered.values())) == 1  # each round got all three


def test_nothing_is_run_for_callers_whose_process_was_killed(overload: Overload) -> None:
    trace = overload.trace
    trace.check()  # no batch has a request that had ended before
    crowd = set(trace.requests(deadline=None))
    cancelled = [trace.ended[number]["at"] for number in crowd if trace.ended[number]["outcome"] == "cancelled"]
    assert len(cancelled) >= 32
    assert all(run.began_at <= max(cancelled) for run in trace.runs)
    assert len(crowd & set(trace.order_run("slow"))) <= len(crowd) - 32


def _hurried(trace: Trace) -> set[int]:
    """The admitted requests that had a deadline: the overload's."""
    return {number for number, event in trace.admitted.items() if event["deadline"] is not None}
