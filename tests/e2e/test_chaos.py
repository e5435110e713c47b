"""Cancelled calls, corrupt pictures and a failing model at once do not affect any other call."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.e2e.callers import Reply, call, wait_for_metric
from tests.e2e.event_log import EventLog
from tests.e2e.forked_server import ForkedServer
from tests.e2e.process_counts import descriptors, threads
from tests.e2e.synthetic_models import SIDE, picture, write_model

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.registry import find
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts threads and descriptors in /proc"),
]

CALLERS = 32
CALLS_EACH = 20
MODELS = ("lenet", "fragile", "steady")
PICTURES_EACH = 10
SEED = 5
# Long enough for any machine; reached only if something was leaked.
PATIENCE_SECONDS = 30
CORRUPT = v1.Image(encoded=b"\x89PNG\r\n\x1a\n and no more")
# Two runs of the same image differ by rounding only.
TOLERANCE = 1e-4

Key = tuple[str, int]


@dataclass(slots=True)
class Chaos:
    """The outcomes of the calls by kind, and any unexpected results."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Record:
    """The outcomes, the server's threads and descriptors before and after, its log and its event log."""

    chaos: Chaos
    before: tuple[Counter[str], int]
    after: tuple[Counter[str], int]
    failed_batches: int
    event_log: EventLog


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("chaos")
    models = folder / "models"
    export_torchscript(find("lenet"), find("lenet").bundled_weights(), models, 1)
    write_model(models, "fragile", 0.001, fragile=True, config="max_batch_size = 8\n")
    write_model(models, "steady", 0.001, config="max_batch_size = 8\n")
    # One thread per operation: OpenMP starts a worker's helper threads when that worker first runs a large operation,
    # and which worker does so in which round is random. They belong to libgomp, are bounded, and are not counted here.
    options = ["--trace", str(folder / "trace"), "--intra-op-threads", "1"]
    with ForkedServer("--repository", str(models), *options) as server:
        asyncio.run(run_chaos(server, random.Random(SEED - 1), Chaos()))  # starts everything that is started only once
        before = [counts_when_idle(server) for _ in range(300)][-1]  # by then what ends by itself has ended
        chaos = Chaos()
        asyncio.run(run_chaos(server, random.Random(SEED), chaos))
        after = counts_without_new(server, before)
        failed = sum("failed on a batch" in str(entry["message"]) for entry in server.logs)
    return Record(chaos, before, after, failed, EventLog(folder / "trace"))


def _pictures() -> dict[Key, v1.Image]:
    chance = random.Random(SEED)
    return {
        (model, place): picture(chance.randbytes(SIDE * SIDE)) for model in MODELS for place in range(PICTURES_EACH)
    }


async def run_chaos(server: ServerProcess, chance: random.Random, chaos: Chaos) -> None:
    pictures = _pictures()
    async with _stubs(server) as stubs:
        undisturbed = {}
        for (model, place), image in pictures.items():
            undisturbed[model, place] = await call(stubs[0], _request(model, image), timeout=60)
        await asyncio.gather(
            *(_caller(stub, random.Random(chance.random()), pictures, undisturbed, chaos) for stub in stubs)
        )


@asynccontextmanager
async def _stubs(server: ServerProcess) -> AsyncIterator[list[ClassifierServiceStub]]:
    """Opens a separate connection for each caller."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(server.target, options) for _ in range(CALLERS)]
    try:
        yield [ClassifierServiceStub(channel) for channel in channels]
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def _caller(
    stub: ClassifierServiceStub,
    chance: random.Random,
    pictures: dict[Key, v1.Image],
    undisturbed: dict[Key, Reply],
    chaos: Chaos,
) -> None:
    for _ in range(CALLS_EACH):
        key, kind = chance.choice(list(pictures)), chance.random()
        if kind < 0.3:
            await call_and_cancel(stub, _request(key[0], pictures[key]), chance.random() * 0.05)
            chaos.outcomes["left"] += 1
        elif kind < 0.35:
            reply = await call(stub, _request(key[0], CORRUPT), timeout=60)
            chaos.outcomes["corrupt"] += 1
            if reply.code is not grpc.StatusCode.INVALID_ARGUMENT:
                chaos.faults.append(f"a corrupt picture got {reply.code}")
        else:
            reply = await call(stub, _request(key[0], pictures[key]), timeout=60)
            chaos.outcomes["good"] += 1
            chaos.faults += _differences(key, reply, undisturbed[key])


async def call_and_cancel(stub: ClassifierServiceStub, request: v1.ClassifyRequest, after_seconds: float) -> None:
    pending = stub.Classify(request, timeout=60)
    await asyncio.wait({asyncio.ensure_future(pending)}, timeout=after_seconds)
    pending.cancel()


def _differences(key: Key, reply: Reply, undisturbed: Reply) -> Iterator[str]:
    if reply.answer is None or undisturbed.answer is None:
        yield f"{key} got {reply.error}"
    elif differ(_by_index(reply.answer), _by_index(undisturbed.answer)):
        yield f"{key} got another answer than at rest"


def _by_index(answer: v1.ClassifyResponse) -> dict[int, float]:
    return {each.index: each.probability for each in answer.classes}


def differ(one: dict[int, float], other: dict[int, float]) -> bool:
    return any(abs(one.get(index, -1.0) - other.get(index, -1.0)) > TOLERANCE for index in one.keys() | other.keys())


def _request(model: str, image: v1.Image) -> v1.ClassifyRequest:
    return v1.ClassifyRequest(image=image, model=model, top_k=10)


def counts_when_idle(server: ServerProcess) -> tuple[Counter[str], int]:
    """Returns the server's threads and descriptors with nothing in flight."""
    wait_for_metric(server, "linnaeus_in_flight", lambda count: count == 0)
    return threads(server), descriptors(server)


def counts_without_new(server: ServerProcess, before: tuple[Counter[str], int]) -> tuple[Counter[str], int]:
    """Returns the threads and descriptors once none are new, or after `PATIENCE_SECONDS`."""
    ends_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        now = counts_when_idle(server)
        if (now[0] <= before[0] and now[1] <= before[1]) or time.monotonic() > ends_at:
            return now


def test_no_other_call_fails_hangs_or_receives_another_calls_answer(record: Record) -> None:
    outcomes = record.chaos.outcomes
    assert outcomes.total() == CALLERS * CALLS_EACH and min(outcomes.values()) > 10
    assert not record.chaos.faults, record.chaos.faults[:10]


def test_images_of_a_failed_batch_are_run_again_one_by_one(record: Record) -> None:
    assert record.failed_batches > 0
    assert not [event for event in record.event_log.events_named("ran") if not event["succeeded"]]


def test_every_request_ends_once_and_none_runs_after_it_was_cancelled(record: Record) -> None:
    record.event_log.check()
    assert {event["outcome"] for event in record.event_log.ended.values()} >= {"answered", "cancelled", "invalid_image"}


def test_no_threads_or_descriptors_are_leaked(record: Record) -> None:
    new_threads = record.after[0] - record.before[0]
    assert (new_threads, max(record.after[1] - record.before[1], 0)) == (Counter(), 0)
