"""Everything at once: callers who leave, pictures that are broken, a model that fails. Nobody else notices."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from tests.e2e.callers import Reply, call, wait_for_metric
from tests.e2e.fragile import SIDE, picture, write_model
from tests.e2e.process_counts import descriptors, threads
from tests.e2e.tracing import Trace

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.registry import find
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts threads and descriptors in /proc")

CALLERS = 32
CALLS_EACH = 20
MODELS = ("lenet", "fragile", "steady")
PICTURES_EACH = 10
SEED = 5
CORRUPT = v1.Image(encoded=b"\x89PNG\r\n\x1a\n and no more")
# Two runs of one picture differ by rounding only.
TOLERANCE = 1e-4

Key = tuple[str, int]


@dataclass(slots=True)
class Chaos:
    """What came of the calls: how many ended how, and what should not have been."""

    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Record:
    """What the chaos came to, the server's threads and descriptors before and after, and its log and trace."""

    chaos: Chaos
    before: tuple[Counter[str], int]
    after: tuple[Counter[str], int]
    failed_batches: int
    trace: Trace


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Record:
    folder = tmp_path_factory.mktemp("chaos")
    models = folder / "models"
    export_torchscript(find("lenet"), find("lenet").bundled_weights(), models, 1)
    write_model(models, "fragile", 0.001, fragile=True, config="max_batch_size = 8\n")
    write_model(models, "steady", 0.001, config="max_batch_size = 8\n")
    # With one thread an operation: OpenMP starts a worker's helpers when that worker first runs a large operation, and
    # which worker does so in which round of calls is chance. They are libgomp's, bounded, and not what is counted here.
    options = ["--trace", str(folder / "trace"), "--intra-op-threads", "1"]
    with ServerProcess("--repository", str(models), *options) as server:
        asyncio.run(_make(server, random.Random(SEED - 1), Chaos()))  # whatever is started once has started
        before = _settled(server, None)
        chaos = Chaos()
        asyncio.run(_make(server, random.Random(SEED), chaos))
        after = _settled(server, before)
        failed = sum("failed on a batch" in str(entry["message"]) for entry in server.logs)
    return Record(chaos, before, after, failed, Trace(folder / "trace"))


def _pictures() -> dict[Key, v1.Image]:
    chance = random.Random(SEED)
    return {
        (model, place): picture(chance.randbytes(SIDE * SIDE)) for model in MODELS for place in range(PICTURES_EACH)
    }


async def _make(server: ServerProcess, chance: random.Random, chaos: Chaos) -> None:
    pictures = _pictures()
    async with _stubs(server) as stubs:
        at_rest = {}
        for (model, place), image in pictures.items():
            at_rest[model, place] = await call(stubs[0], _request(model, image), timeout=60)
        await asyncio.gather(
            *(_caller(stub, random.Random(chance.random()), pictures, at_rest, chaos) for stub in stubs)
        )


@asynccontextmanager
async def _stubs(server: ServerProcess) -> AsyncIterator[list[ClassifierServiceStub]]:
    """A connection of its own for each caller."""
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
    at_rest: dict[Key, Reply],
    chaos: Chaos,
) -> None:
    for _ in range(CALLS_EACH):
        key, kind = chance.choice(list(pictures)), chance.random()
        if kind < 0.3:
            await _leave(stub, _request(key[0], pictures[key]), chance.random() * 0.05)
            chaos.outcomes["left"] += 1
        elif kind < 0.35:
            reply = await call(stub, _request(key[0], CORRUPT), timeout=60)
            chaos.outcomes["corrupt"] += 1
            if reply.code is not grpc.StatusCode.INVALID_ARGUMENT:
                chaos.faults.append(f"a corrupt picture got {reply.code}")
        else:
            reply = await call(stub, _request(key[0], pictures[key]), timeout=60)
            chaos.outcomes["good"] += 1
            chaos.faults += _differences(key, reply, at_rest[key])


async def _leave(stub: ClassifierServiceStub, request: v1.ClassifyRequest, after_seconds: float) -> None:
    under_way = stub.Classify(request, timeout=60)
    await asyncio.wait({asyncio.ensure_future(under_way)}, timeout=after_seconds)
    under_way.cancel()


def _differences(key: Key, reply: Reply, at_rest: Reply) -> Iterator[str]:
    if reply.answer is None or at_rest.answer is None:
        yield f"{key} got {reply.error}"
    elif _far(_by_index(reply.answer), _by_index(at_rest.answer)):
        yield f"{key} got another answer than at rest"


def _by_index(answer: v1.ClassifyResponse) -> dict[int, float]:
    return {each.index: each.probability for each in answer.classes}


def _far(one: dict[int, float], other: dict[int, float]) -> bool:
    return any(abs(one.get(index, -1.0) - other.get(index, -1.0)) > TOLERANCE for index in one.keys() | other.keys())


def _request(model: str, image: v1.Image) -> v1.ClassifyRequest:
    return v1.ClassifyRequest(image=image, model=model, top_k=10)


def _settled(server: ServerProcess, before: tuple[Counter[str], int] | None) -> tuple[Counter[str], int]:
    """The server's threads and descriptors with nothing in flight; waits until none are new.

    The test's own time limit does not end it: after 300 looks the last one counts.
    """
    for _ in range(300):
        wait_for_metric(server, "linnaeus_in_flight", lambda count: count == 0)
        now = threads(server), descriptors(server)
        if before is not None and now[0] <= before[0] and now[1] <= before[1]:
            break
    return now


def test_no_other_call_fails_hangs_or_gets_another_s_answer(record: Record) -> None:
    outcomes = record.chaos.outcomes
    assert outcomes.total() == CALLERS * CALLS_EACH and min(outcomes.values()) > 10
    assert not record.chaos.faults, record.chaos.faults[:10]


def test_the_fragile_model_failed_and_its_images_were_run_again_one_by_one(record: Record) -> None:
    assert record.failed_batches > 0
    assert not [event for event in record.trace.named("ran") if not event["succeeded"]]


def test_every_request_ended_once_and_none_ran_after_its_caller_left(record: Record) -> None:
    record.trace.check()
    assert {event["outcome"] for event in record.trace.ended.values()} >= {"answered", "cancelled", "invalid_image"}


def test_threads_and_descriptors_are_back_where_they_were(record: Record) -> None:
    new_threads = record.after[0] - record.before[0]
    assert (new_threads, max(record.after[1] - record.before[1], 0)) == (Counter(), 0)
