"""Many images of one caller: each by itself, no task or future for any, and nothing of them left behind."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.engine.engine import Engine
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


@asynccontextmanager
async def running(repository: Path, observer: Any, event_log: Path, now: float | None = None, **settings: Any) -> Any:
    """An engine for lenet that writes a trace; with `now`, one for which no time passes."""
    chosen = {"models": "lenet", "device": "cpu", "max_batch_size": 4} | settings
    clock: dict[str, Any] = {} if now is None else {"clock": lambda: now}
    file = FileEventLog(event_log)
    engine = Engine(Settings(repository=repository, **chosen), observer, event_log=file, **clock)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()
        file.close()


@pytest.fixture
async def engine(repository: Path, observer: Any, tmp_path: Path) -> AsyncIterator[Engine]:
    async with running(repository, observer, tmp_path / "trace") as made:
        yield made


@pytest.fixture
def events(tmp_path: Path) -> Callable[[str], list[dict[str, Any]]]:
    """What was traced so far under a name."""

    def read(name: str) -> list[dict[str, Any]]:
        lines = (tmp_path / "trace").read_text(encoding="utf-8").splitlines()
        return [event for event in map(json.loads, lines) if event["event"] == name]

    return read


def digit(seed: int = 0, **changes: Any) -> Request:
    data = numpy.random.default_rng(seed).integers(0, 255, 30 * 30, numpy.uint8).tobytes()
    return Request(RawPixels(data, 30, 30, 1), model="lenet")._replace(**changes)


STUCK = RawPixels(b"\xff" * 30 * 30, 30, 30, 1)


class BlockedDecode:
    """Stands in for decode: white pictures wait until the test opens it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        real = decoders_module.decode

        def decode(image: Any, *arguments: Any) -> Any:
            if image is STUCK:
                self.entered.release()
                if not self.opened.wait(30):
                    raise TimeoutError
            return real(image, *arguments)

        monkeypatch.setattr(decoders_module, "decode", decode)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


async def test_answers_stand_in_order_and_are_those_of_single_requests(engine: Engine) -> None:
    outcomes = await engine.classify_many([digit(seed, top_k=10) for seed in range(40)])
    for seed, outcome in enumerate(outcomes):
        alone = await engine.classify(digit(seed, top_k=10))
        assert isinstance(outcome, Classification) and (outcome.model, outcome.version) == ("lenet", 1)
        pairs = zip(outcome.classes, alone.classes, strict=True)
        assert all(one.index == other.index and abs(one.probability - other.probability) < 1e-5 for one, other in pairs)
    assert engine.in_flight == 0 and engine.queue_depth(LaneKey("lenet", 1, 1)) == 0


async def test_a_bad_image_fails_alone(engine: Engine, observer: Any) -> None:
    outcomes = await engine.classify_many([digit(), digit(image=EncodedImage(b"no picture")), digit()])
    assert [type(each) for each in outcomes] == [Classification, InvalidImage, Classification]
    assert observer.rejections == [("lenet", "invalid_image")]


async def test_no_image_at_all_is_no_answer_at_once(engine: Engine) -> None:
    assert await engine.classify_many([]) == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [({"model": "cat"}, ModelNotFound), ({"top_k": 11}, InvalidArgument), ({"version": "9"}, ModelNotFound)],
)
async def test_a_question_that_cannot_be_answered_begins_nothing(
    engine: Engine, observer: Any, events: Any, changes: dict[str, Any], error: type[RequestError]
) -> None:
    with pytest.raises(error):
        await engine.classify_many([digit(), digit(**changes), digit()])
    assert events("admitted") == [] and len(observer.rejections) == 3


async def test_what_finds_no_place_is_refused_and_the_rest_is_answered(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", max_queue_size=3, decode_threads=1) as engine:
        many = asyncio.create_task(engine.classify_many([digit(image=STUCK), *map(digit, range(4))]))
        await blocked.wait_entered()
        blocked.opened.set()
        outcomes = await many
    assert [type(each) for each in outcomes] == [Classification] * 3 + [Overloaded] * 2


async def test_where_every_image_was_refused_the_call_is_so_that_it_can_come_again(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", max_queue_size=1, decode_threads=1) as engine:
        holder = asyncio.create_task(engine.classify(digit(image=STUCK)))
        await blocked.wait_entered()
        with pytest.raises(Overloaded) as refusal:
            await engine.classify_many([digit(), digit()])
        assert refusal.value.retry_after_seconds > 0
        blocked.opened.set()
        await holder
    with pytest.raises(Unavailable, match="stopping"):
        await engine.classify_many([digit(), digit()])


async def test_images_that_cannot_be_in_time_are_refused_one_by_one(engine: Engine, observer: Any) -> None:
    outcomes = await engine.classify_many([digit(deadline=1.0), digit(), digit(deadline=1.0)])
    assert [type(each) for each in outcomes] == [DeadlineExceeded, Classification, DeadlineExceeded]
    assert [type(each) for each in await engine.classify_many([digit(deadline=1.0)])] == [DeadlineExceeded]


async def test_a_late_image_ends_before_the_calls_deadline_and_leaves_the_others_their_answers(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Any
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", now=100.0, decode_threads=2, streams=1) as engine:
        requests = [digit(image=STUCK, deadline=100.4), digit(deadline=100.4), digit(deadline=500.0)]
        outcomes = await asyncio.wait_for(engine.classify_many(requests), 60)
        assert [type(each) for each in outcomes] == [DeadlineExceeded, Classification, Classification]
        assert not blocked.opened.is_set() and engine.in_flight == 0
        blocked.opened.set()
    assert [event["deadline"] for event in events("admitted")] == pytest.approx([100.36, 100.36, 499.95])


async def test_a_caller_that_cancels_takes_all_of_its_images_along(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: Any
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, tmp_path / "trace", decode_threads=1, streams=1) as engine:
        many = asyncio.create_task(engine.classify_many([digit(image=STUCK), *(digit(deadline=1e9) for _ in range(9))]))
        await blocked.wait_entered()
        many.cancel()
        with pytest.raises(asyncio.CancelledError):
            await many
        assert engine.in_flight == 0 and engine.queue_depth(LaneKey("lenet", 1, 1)) == 0
        blocked.opened.set()
        await engine.classify(digit())
    assert sum(report.size for report in observer.batches) == 1, "only the last request was run"
    assert observer.rejections == [] and len(observer.cancellations) == 10
    assert Counter(event["outcome"] for event in events("ended")) == {"cancelled": 10, "answered": 1}


async def test_every_image_is_traced_from_admission_to_one_end(engine: Engine, events: Any) -> None:
    await engine.classify_many([digit(), digit(image=EncodedImage(b"")), digit(deadline=1.0)])
    assert Counter(event["outcome"] for event in events("ended")) == {"answered": 1, "invalid_image": 1, "deadline": 1}
    assert len({event["request"] for event in events("ended")}) == 3


async def test_one_image_is_begun_without_waiting_and_tells_its_end_once(engine: Engine) -> None:
    told: asyncio.Queue[Outcome] = asyncio.Queue()
    state = engine.begin(digit(), told.put_nowait)
    assert not state.is_done and engine.in_flight == 1
    assert isinstance(await asyncio.wait_for(told.get(), 60), Classification)
    assert state.is_done and engine.in_flight == 0
    refused = engine.begin(digit(model="cat"), told.put_nowait)
    assert refused.is_done and isinstance(told.get_nowait(), ModelNotFound)
    for each in (state, refused):
        engine.cancel(each)
    assert engine.in_flight == 0 and told.empty()


async def test_who_left_is_told_nothing(
    repository: Path, observer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked, told = BlockedDecode(monkeypatch), []
    async with running(repository, observer, tmp_path / "trace", decode_threads=1) as engine:
        state = engine.begin(digit(image=STUCK, deadline=1e9), told.append)
        await blocked.wait_entered()
        engine.cancel(state)
        engine.cancel(state)
        blocked.opened.set()
        await engine.classify(digit())
    assert told == [] and observer.cancellations == [("lenet", "decode")]


async def test_closing_is_told_before_anything_is_refused_for_it(engine: Engine) -> None:
    assert not engine.closing.is_set()
    await engine.close()
    assert engine.closing.is_set()
