"""Tests of the records that an engine passes to its record handler."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.engine.result_delivery import ResultDelivery
from linnaeus.server.errors import InvalidImage, ModelNotFound
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import NullEventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.requests.request import BatchOutcome, Request, RequestPayload
from linnaeus.server.requests.request_record import BatchRecord, RecordHandlers, RequestRecord
from linnaeus.server.scheduling import Batch, BatchQueue, Priority, Ticket


@dataclass
class Recorded:
    """A record handler that keeps its calls; samples all request numbers except those left out."""

    left_out: frozenset[int] = frozenset()
    records: list[RequestRecord] = field(default_factory=list)
    contexts: list[object] = field(default_factory=list)
    batches: list[BatchRecord] = field(default_factory=list)

    def sample(self, number: int) -> object | None:
        return None if number in self.left_out else f"mark {number}"

    def request_ended(self, context: object, record: RequestRecord) -> None:
        self.contexts.append(context)
        self.records.append(record)

    def batch_ended(self, batch: BatchRecord) -> None:
        self.batches.append(batch)


@pytest.fixture
def handler() -> Recorded:
    return Recorded(frozenset({2}))


@pytest.fixture
async def engine(repository: Path, observer: Any, handler: Recorded) -> AsyncIterator[LocalEngine]:
    made = LocalEngine(Settings(repository=repository, models="lenet", device="cpu"), observer, record_handler=handler)
    await made.load()
    yield made
    await made.close()


def digit(**fields: Any) -> Request:
    return Request(**{"image": RawPixels(bytes(28 * 28), 28, 28, 1), "model": "lenet", **fields})


async def test_an_answered_request_is_recorded_with_its_batch_only_if_sampled(
    engine: LocalEngine, handler: Recorded
) -> None:
    for _ in range(3):
        await engine.classify(digit(priority=Priority.LOW))
    assert handler.contexts == ["mark 1", "mark 3"]
    first = handler.records[0]
    assert (first.model, first.version, first.outcome, first.priority) == ("lenet", 1, "answered", Priority.LOW)
    assert first.image_bytes == 28 * 28 and first.timeout_seconds is None
    assert first.batch is not None and first.batch.size == 1 and first.batch.succeeded
    assert [run.number for run in handler.batches] == [1, 2, 3]
    stages = list(first.stages())
    assert [stage.name for stage in stages] == ["decoder_queue", "decode", "queue", "inference"]
    moments = [first.arrived_at, *(moment for stage in stages for moment in stage[1:]), first.ended_at]
    assert moments == sorted(moments)


async def test_every_request_without_an_answer_is_recorded_once(engine: LocalEngine, handler: Recorded) -> None:
    with pytest.raises(ModelNotFound):
        await engine.classify(digit(model="no-such-model"))
    with pytest.raises(ModelNotFound):
        await engine.classify_many([digit(model="no-such-model")] * 2)
    with pytest.raises(InvalidImage):
        await engine.classify(digit(image=EncodedImage(b"no picture")))
    cancelled = asyncio.create_task(engine.classify(digit()))
    await asyncio.sleep(0)  # starts the request
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    outcomes = [(record.number, record.model, record.outcome) for record in handler.records]
    assert outcomes == [
        (1, "", "not_found"),
        (3, "", "not_found"),
        (4, "lenet", "invalid_image"),
        (5, "lenet", "cancelled"),
    ]


async def test_images_returned_by_a_removed_device_have_no_batch_record(observer: Any, handler: Recorded) -> None:
    queue: BatchQueue[RequestPayload] = BatchQueue(lambda: 5.0, 1)
    payload = RequestPayload(
        1, RawPixels(b"", 0, 0, 1), InputSpec(1, 28, 28, 28, "bilinear"), 1, asyncio.get_running_loop().create_future()
    )
    lane = LaneKey("lenet", 1, 1)
    ticket = Ticket(lane, payload, None, Priority.NORMAL, 1.0, None, 0.0, 0.0, 0.0, 1.0, 1)
    batch = Batch(9, lane, "cpu", [ticket], [], 0, 5.0, 0.1)
    delivery = ResultDelivery(queue, observer, NullEventLog(), lambda: 6.0, Supervisor(), handler)
    delivery.batch_started(batch)
    assert payload.batch is not None and (payload.batch.number, payload.batch.size, payload.batch.taken_at) == (
        9,
        1,
        5.0,
    )
    delivery.batch_finished(batch, BatchOutcome(lane, "cpu", 0, 0.0, [], 5.5))
    assert payload.batch is None, "another device may take the image now"
    await asyncio.sleep(0)
    assert [(run.number, run.finished_at, run.succeeded) for run in handler.batches] == [(9, 5.5, False)]


def test_each_record_handler_gets_its_own_context_back() -> None:
    one, other = Recorded(frozenset({1, 2})), Recorded(frozenset({2}))
    both = RecordHandlers(one, other)
    assert both.sample(2) is None
    for number in (1, 3):
        context = both.sample(number)
        assert context is not None
        both.request_ended(context, RequestRecord(number, "lenet", 1, "answered", Priority.NORMAL, 1, None, 0.0, 1.0))
    both.batch_ended(BatchRecord(1, "lenet", 1, "cpu", 1, 0.0))
    assert (one.contexts, other.contexts) == (["mark 3"], ["mark 1", "mark 3"])
    assert len(one.batches) == len(other.batches) == 1
