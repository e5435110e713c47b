"""Tests of calls with several images, and of `Engine.begin` and `Engine.cancel`."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.server.engine.engine_fakes import BlockedDecode

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    ModelNotFound,
    Overloaded,
    RequestError,
    Unavailable,
)
from linnaeus.server.requests.event_log import FileEventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.requests.request import Classification, Request

pytestmark = pytest.mark.usefixtures("both_links")


@asynccontextmanager
async def running(repository: Path, observer: Any, event_log: Path, now: float | None = None, **settings: Any) -> Any:
    """Runs an engine for lenet with an event log; with `now`, on a clock that stands still."""
    options = {"models": "lenet", "device": "cpu", "max_batch_size": 4} | settings
    clock: dict[str, Any] = {} if now is None else {"clock": lambda: now}
    file = FileEventLog(event_log)
    engine = LocalEngine(Settings(repository=repository, **options), observer, event_log=file, **clock)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()
        file.close()


@pytest.fixture
async def engine(repository: Path, observer: Any, tmp_path: Path) -> AsyncIterator[LocalEngine]:
    async with running(repository, observer, tmp_path / "trace") as made:
        yield made


@pytest.fixture
def events(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """Returns a function that returns the events of one name logged so far."""

    def read(name: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "trace").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    return read


def digit(seed: int = 0, **changes: Any) -> Request:
    data = numpy.random.default_rng(seed).integers(0, 255, 30 * 30, numpy.uint8).tobytes()
    return Request(RawPixels(data, 30, 30, 1), model="lenet")._replace(**changes)


BLOCKED_IMAGE = RawPixels(b"\xff" * 30 * 30, 30, 30, 1)


def block_decode(monkeypatch: pytest.MonkeyPatch) -> BlockedDecode:
    return BlockedDecode(monkeypatch, BLOCKED_IMAGE)


async def test_answers_are_in_order_and_equal_those_of_single_requests(engine: LocalEngine) -> None:
    outcomes = await engine.classify_many([digit(seed, top_k=10) for seed in range(40)])
    for seed, outcome in enumerate(outcomes):
        alone = await engine.classify(digit(seed, top_k=10))
        assert isinstance(outcome, Classification) and (outcome.model, outcome.version) == ("lenet", 1)
        pairs = zip(outcome.classes, alone.classes, strict=True)
        assert all(one.index == other.index and abs(one.probability - other.probability) < 1e-5 for one, other in pairs)
    assert engine.in_flight == 0 and engine.core.queue_depth(LaneKey("lenet", 1, 1)) == 0


async def test_a_bad_image_fails_alone(engine: LocalEngine, observer: Any) -> None:
    outcomes = await engine.classify_many([digit(), digit(image=EncodedImage(b"no picture")), digit()])
    assert [type(each) for each in outcomes] == [Classification, InvalidImage, Classification]
    assert observer.rejections == [("lenet", "invalid_image")]


async def test_a_call_without_images_returns_no_answers_at_once(engine: LocalEngine) -> None:
    assert await engine.classify_many([]) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model": "cat"}, ModelNotFound),
        ({"top_k": 11}, InvalidArgument),
        ({"min_probability": 1.5}, InvalidArgument),
        ({"version": "9"}, ModelNotFound),
    ],
)
async def test_a_call_with_one_invalid_request_starts_none(
    engine: LocalEngine, observer: Any, events: Any, changes: dict[str, Any], error: type[RequestError]
) -> None:
    with pytest.raises(error):
        await engine.classify_many([digit(), digit(**changes), digit()])
    assert events("admitted") == [] and len(observer.rejections) == 3


async def test_images_beyond_the_queue_size_are_refused_and_the_rest_is_answered(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = block_decode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", max_queue_size=3, decode_threads=1) as engine:
        many = asyncio.create_task(engine.classify_many([digit(image=BLOCKED_IMAGE), *map(digit, range(4))]))
        await blocked.wait_entered()
        blocked.opened.set()
        outcomes = await many
    assert [type(each) for each in outcomes] == [Classification] * 3 + [Overloaded] * 2


async def test_a_call_whose_images_are_all_refused_is_refused_with_a_retryable_error(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = block_decode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", max_queue_size=1, decode_threads=1) as engine:
        holder = asyncio.create_task(engine.classify(digit(image=BLOCKED_IMAGE)))
        await blocked.wait_entered()
        with pytest.raises(Overloaded) as refusal:
            await engine.classify_many([digit(), digit()])
        assert refusal.value.retry_after_seconds > 0
        blocked.opened.set()
        await holder
    with pytest.raises(Unavailable, match="stopping"):
        await engine.classify_many([digit(), digit()])


async def test_images_that_cannot_meet_the_deadline_are_refused_one_by_one(engine: LocalEngine, observer: Any) -> None:
    outcomes = await engine.classify_many([digit(deadline=1.0), digit(), digit(deadline=1.0)])
    assert [type(each) for each in outcomes] == [DeadlineExceeded, Classification, DeadlineExceeded]
    assert [type(each) for each in await engine.classify_many([digit(deadline=1.0)])] == [DeadlineExceeded]


async def test_a_late_image_ends_before_the_deadline_of_its_call_and_the_others_are_answered(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Any
) -> None:
    blocked = block_decode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", now=100.0, decode_threads=2, streams=1) as engine:
        requests = [digit(image=BLOCKED_IMAGE, deadline=100.4), digit(deadline=100.4), digit(deadline=500.0)]
        outcomes = await asyncio.wait_for(engine.classify_many(requests), 60)
        assert [type(each) for each in outcomes] == [DeadlineExceeded, Classification, Classification]
        assert not blocked.opened.is_set() and engine.in_flight == 0
        blocked.opened.set()
    assert [event["deadline"] for event in events("admitted")] == pytest.approx([100.36, 100.36, 499.95])


async def test_cancelling_a_call_cancels_all_of_its_images(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Any
) -> None:
    blocked = block_decode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", decode_threads=1, streams=1) as engine:
        many = asyncio.create_task(
            engine.classify_many([digit(image=BLOCKED_IMAGE), *(digit(deadline=1e9) for _ in range(9))])
        )
        await blocked.wait_entered()
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        assert engine.in_flight == 0 and engine.core.queue_depth(LaneKey("lenet", 1, 1)) == 0
        blocked.opened.set()
        await engine.classify(digit())
    assert sum(report.size for report in observer.batches) == 1, "only the last request was run"
    assert observer.rejections == [] and len(observer.cancellations) == 10
    assert Counter(event["outcome"] for event in events("ended")) == {"cancelled": 10, "answered": 1}


async def test_the_event_log_has_one_admission_and_one_end_for_each_image(engine: LocalEngine, events: Any) -> None:
    await engine.classify_many([digit(), digit(image=EncodedImage(b"")), digit(deadline=1.0)])
    assert Counter(event["outcome"] for event in events("ended")) == {"answered": 1, "invalid_image": 1, "deadline": 1}
    assert len({event["request"] for event in events("ended")}) == 3


async def test_begin_does_not_wait_and_calls_on_outcome_once(engine: LocalEngine) -> None:
    outcomes: asyncio.Queue[Outcome] = asyncio.Queue()
    state = engine.begin(digit(), outcomes.put_nowait)
    assert not state.is_done and engine.in_flight == 1
    assert isinstance(await asyncio.wait_for(outcomes.get(), 60), Classification)
    assert state.is_done and engine.in_flight == 0
    refused = engine.begin(digit(model="cat"), outcomes.put_nowait)
    assert refused.is_done and isinstance(outcomes.get_nowait(), ModelNotFound)
    for each in (state, refused):
        engine.cancel(each)
    assert engine.in_flight == 0 and outcomes.empty()


async def test_on_outcome_is_not_called_after_a_cancellation(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, outcomes = block_decode(monkeypatch), []
    async with running(repository, observer, tmp_path / "trace", decode_threads=1) as engine:
        state = engine.begin(digit(image=BLOCKED_IMAGE, deadline=1e9), outcomes.append)
        await blocked.wait_entered()
        engine.cancel(state)
        engine.cancel(state)
        blocked.opened.set()
        await engine.classify(digit())
    assert outcomes == [] and observer.cancellations == [("lenet", "decode")]


async def test_closing_is_set_before_requests_are_refused(engine: LocalEngine) -> None:
    assert not engine.closing.is_set()
    await engine.close()
    assert engine.closing.is_set()
