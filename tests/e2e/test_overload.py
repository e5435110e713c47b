"""Under overload, and when callers disappear, nothing is run needlessly, as the event log shows."""

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
from tests.e2e.event_log import EventLog
from tests.e2e.forked_server import ROOT
from tests.e2e.synthetic_models import request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

OK = grpc.StatusCode.OK
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
IMAGE_SECONDS = 0.02
OVERLOAD = 4  # times the capacity of an idle machine; more on a busy one
LOAD_SECONDS = 2.0  # at least


@dataclass(frozen=True, slots=True)
class Overload:
    """The timeout of the overload's calls, their replies, the answers of other services meanwhile, and the event log.

    The event log continues with calls without a deadline from a process that was killed.
    """

    timeout_seconds: float
    replies: list[Reply]
    other_answers: Counter[str]
    event_log: EventLog


@pytest.fixture(scope="module")
def overload(tmp_path_factory: pytest.TempPathFactory) -> Overload:
    """Several times the server's capacity, then callers whose process is killed."""
    folder = tmp_path_factory.mktemp("overload")
    write_model(folder / "models", "slow", IMAGE_SECONDS, config="max_batch_size = 4\n")
    with serving(folder, "--streams", "1") as server:
        timeout_seconds, replies, other_answers = asyncio.run(_overload(server))
        _crowd_that_is_killed(server)
    return Overload(timeout_seconds, replies, other_answers, EventLog(folder / "trace"))


async def _overload(server: ServerProcess) -> tuple[float, list[Reply], Counter[str]]:
    other_answers: Counter[str] = Counter()
    loop = asyncio.get_running_loop()

    async def one(due: float) -> Reply:
        await asyncio.sleep(due - loop.time())  # an open loop: sending does not wait for answers
        return await call(stub, request("slow"), timeout_seconds)

    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        table = (await stub.GetModel(v1.GetModelRequest(model="slow"), timeout=30)).batch_latencies
        images_per_second = OVERLOAD / IMAGE_SECONDS
        timeout_seconds = max(4 * max(row.seconds for row in table), 0.3)
        # Long enough for a queue behind which no later call could be answered in time.
        load_seconds = max(LOAD_SECONDS, 1.5 * timeout_seconds)
        calls, begin = math.ceil(images_per_second * load_seconds), loop.time()
        load = asyncio.gather(*(one(begin + place / images_per_second) for place in range(calls)))
        while not load.done():
            await _call_other_services(channel, server, other_answers)
        return timeout_seconds, await load, other_answers


async def _call_other_services(channel: grpc.aio.Channel, server: ServerProcess, other_answers: Counter[str]) -> None:
    health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    other_answers["health"] += health.status == health_pb2.HealthCheckResponse.SERVING
    models = await ClassifierServiceStub(channel).ListModels(v1.ListModelsRequest(), timeout=30)
    other_answers["models"] += len(models.models)
    other_answers["metrics"] += "linnaeus_in_flight" in await asyncio.to_thread(_scrape, server)


def _scrape(server: ServerProcess) -> str:
    with urllib.request.urlopen(server.metrics_url, timeout=30) as page:
        return page.read().decode()


def _crowd_that_is_killed(server: ServerProcess) -> None:
    crowd = subprocess.Popen([sys.executable, "-m", callers.__name__, server.target, "slow", "200"], cwd=ROOT)
    try:
        wait_for_metric(server, "linnaeus_in_flight", lambda count: count >= 64)
    finally:
        crowd.kill()
        crowd.wait()
    wait_for_metric(server, "linnaeus_in_flight", lambda count: count == 0)


def test_under_overload_no_expired_request_runs_and_every_request_ends_once(overload: Overload) -> None:
    replies, event_log = overload.replies, overload.event_log
    event_log.check()
    assert {reply.code for reply in replies} == {OK, DEADLINE_EXCEEDED}
    assert len(_with_deadline(event_log)) + len(event_log.refused) <= len(
        replies
    )  # a call may expire before it arrives
    assert all(event["reason"] == "deadline" for event in event_log.refused.values())
    assert sum(reply.code is OK for reply in replies) <= len(
        _with_deadline(event_log) & set(event_log.run_order("slow"))
    )


def test_refusals_give_the_predicted_wait_and_mostly_come_early(overload: Overload) -> None:
    replies, event_log, timeout_seconds = overload.replies, overload.event_log, overload.timeout_seconds
    refusals = [reply.refusal for reply in replies if reply.refusal]
    at_once = [info for info in refusals if float(info.metadata["predicted_wait_seconds"]) > 0]
    assert len(at_once) > len(replies) / 4 and {info.reason for info in refusals} == {"DEADLINE_CANNOT_BE_MET"}
    for info in at_once:
        predicted, late_by = (float(info.metadata[key]) for key in ("predicted_wait_seconds", "late_by_seconds"))
        assert 0 < late_by < predicted, "late_by_seconds is the predicted wait minus the time allowed"
        assert predicted - late_by <= timeout_seconds + 0.01  # gRPC transmits the timeout with three digits, rounded up
    early = [event["deadline"] - event["at"] > timeout_seconds / 2 for event in event_log.refused.values()]
    assert sum(early) > len(early) / 2


def test_under_overload_health_models_and_metrics_still_answer(overload: Overload) -> None:
    other_answers = overload.other_answers
    assert min(other_answers["health"], other_answers["models"], other_answers["metrics"]) >= 1
    assert len(set(other_answers.values())) == 1  # each round called all three


def test_nothing_runs_for_callers_whose_process_was_killed(overload: Overload) -> None:
    event_log = overload.event_log
    event_log.check()  # no batch contains a request that had ended before
    crowd = set(event_log.requests(deadline=None))
    cancelled = [event_log.ended[number]["at"] for number in crowd if event_log.ended[number]["outcome"] == "cancelled"]
    assert len(cancelled) >= 32
    assert all(run.started_at <= max(cancelled) for run in event_log.runs)
    assert len(crowd & set(event_log.run_order("slow"))) <= len(crowd) - 32


def _with_deadline(event_log: EventLog) -> set[int]:
    """Returns the admitted requests with a deadline, which are those of the overload."""
    return {number for number, event in event_log.admitted.items() if event["deadline"] is not None}
