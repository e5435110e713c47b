"""The settings in a model's config.toml take effect."""

import asyncio
import math
from dataclasses import dataclass

import grpc
import pytest
from google.rpc import error_details_pb2
from tests.e2e.callers import Reply, burst, serving, wait_for_metric
from tests.e2e.event_log import EventLog
from tests.e2e.synthetic_models import image_with_work, request, write_model

from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

OK = grpc.StatusCode.OK
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED

CONFIGS = {
    "narrow": "max_batch_size = 1\nmax_queue_size = 2\ninstances = 1\n",
    "patient": "max_batch_size = 2\nmax_queue_delay_seconds = 3600.0\n",
    "timed": "max_batch_size = 1\ndefault_timeout_seconds = 0.5\n",
    "elsewhere": 'max_batch_size = 1\ndevices = ["cpu:1"]\nweight = 2\n',
    "misspelt": "maximum_batch_size = 4\n",
    "absurd": "instances = -1\n",
}


@dataclass(frozen=True, slots=True)
class Configured:
    """The result of CONFIGS on a server with two workers: listed models, replies by model, and the event log."""

    models: dict[str, v1.Model]
    image_seconds: float
    replies: dict[str, list[Reply]]
    event_log: EventLog


@pytest.fixture(scope="module")
def configured(tmp_path_factory: pytest.TempPathFactory) -> Configured:
    folder = tmp_path_factory.mktemp("configured")
    for name, config in CONFIGS.items():
        seconds = {"narrow": 0.15}.get(name, 0.0)
        write_model(folder / "models", name, seconds, work_unit_seconds=0.01, config=config)
    with serving(folder, "--streams", "2") as server:
        models, image_seconds = _listed(server)
        replies = asyncio.run(_call(server))
    return Configured(models, image_seconds, replies, EventLog(folder / "trace"))


async def _call(server: ServerProcess) -> dict[str, list[Reply]]:
    """Calls the models one after another; the second image of `patient` comes last."""
    first = asyncio.create_task(burst(server, [request("patient")]))
    await asyncio.to_thread(wait_for_metric, server, "linnaeus_in_flight", lambda count: count == 1)
    calls = {"narrow": 12 * [request("narrow")], "elsewhere": [request("elsewhere")]}
    calls |= {"timed": [request("timed", image_with_work(150))], "patient": [request("patient")]}
    replies = {name: await burst(server, requests) for name, requests in calls.items()}
    return replies | {"patient": replies["patient"] + await first}


def _listed(server: ServerProcess) -> tuple[dict[str, v1.Model], float]:
    """Returns every model by name, and the seconds per image of `narrow`."""
    with grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        models = stub.ListModels(v1.ListModelsRequest(), timeout=30).models
        table = stub.GetModel(v1.GetModelRequest(model="narrow"), timeout=30).batch_latencies
    return {model.name: model for model in models}, next(row.seconds for row in table if row.batch_size == 1)


def test_a_wrong_key_or_value_refuses_only_its_model(configured: Configured) -> None:
    models = configured.models
    ready = {name for name, model in models.items() if model.state == v1.MODEL_STATE_READY}
    assert ready == {"narrow", "patient", "timed", "elsewhere"}
    assert models["misspelt"].state_reason.startswith("config.toml: maximum_batch_size is no setting of a model")
    assert models["absurd"].state_reason == "config.toml: instances is -1, but must be at least 0"


def test_each_model_has_its_own_batch_size_and_devices(configured: Configured) -> None:
    sizes = {name: model.max_batch_size for name, model in configured.models.items() if model.max_batch_size}
    assert sizes == {"narrow": 1, "patient": 2, "timed": 1, "elsewhere": 1}
    assert configured.models["elsewhere"].devices == ["cpu:1"] and configured.models["narrow"].devices == ["cpu"]
    assert [reply.code for reply in configured.replies["elsewhere"]] == [OK]
    assert {run.device for run in configured.event_log.runs if run.model == "elsewhere"} == {"cpu:1"}


def test_a_batch_that_is_not_full_waits_for_the_models_queue_delay(configured: Configured) -> None:
    assert [reply.answer.batch_size for reply in configured.replies["patient"] if reply.answer] == [2, 2]


def test_a_full_queue_gives_a_retry_delay_from_the_latency_table(configured: Configured) -> None:
    refusals = [reply for reply in configured.replies["narrow"] if reply.code is not OK]
    assert {reply.code for reply in refusals} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    for refusal in refusals:
        retry_info = refusal.detail(error_details_pb2.RetryInfo)
        assert retry_info is not None and refusal.error is not None
        retry_seconds = retry_info.retry_delay.ToTimedelta().total_seconds()
        pushback = dict(tuple(refusal.error.trailing_metadata()))["grpc-retry-pushback-ms"]
        assert abs(int(pushback) - math.ceil(retry_seconds * 1000)) <= 1
    # Before the end of the first run nothing has been measured: two images wait, and decoding them takes almost no
    # time.
    first = min(run.ended_at for run in configured.event_log.runs if run.model == "narrow")
    early = sum(event["at"] < first for event in configured.event_log.refused.values())
    assert early > 0
    for refusal in refusals[:early]:
        retry_info = refusal.detail(error_details_pb2.RetryInfo)
        assert retry_info.retry_delay.ToTimedelta().total_seconds() / (2 * configured.image_seconds) == pytest.approx(
            1, 0.3
        )


def test_a_queue_holds_at_most_max_queue_size_images(configured: Configured) -> None:
    configured.event_log.check()
    assert configured.event_log.max_waiting("narrow") == 2


def test_at_most_instances_batches_of_a_model_run_at_once_on_a_device(configured: Configured) -> None:
    assert _max_concurrent_runs(configured.event_log, "narrow") == 1


def test_a_models_default_timeout_ends_calls_without_a_deadline(
    configured: Configured,
) -> None:
    (reply,) = configured.replies["timed"]
    assert reply.code is DEADLINE_EXCEEDED and reply.refusal is not None
    event_log = configured.event_log
    (timed,) = event_log.requests("timed")
    assert event_log.admitted[timed]["deadline"] - event_log.admitted[timed]["at"] == pytest.approx(0.5, abs=0.3)
    # The event loop's timers count whole milliseconds.
    ended_at = event_log.ended[timed]["at"]
    assert event_log.admitted[timed]["deadline"] - 0.002 < ended_at < event_log.run_of(timed).ended_at


def _max_concurrent_runs(event_log: EventLog, model: str) -> int:
    """Returns the maximum number of a model's batches that ran at once."""
    runs = [run for run in event_log.runs if run.model == model]
    return max(sum(other.started_at <= run.started_at < other.ended_at for other in runs) for run in runs)
