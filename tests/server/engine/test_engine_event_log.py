"""Tests of the engine: the events that it logs."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedDecode, BlockedRuns, digit, let_others_run

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import DeadlineExceeded, InternalFailure, InvalidArgument, Overloaded
from linnaeus.server.requests.event_log import FileEventLog
from linnaeus.server.requests.request import Priority


async def test_an_image_late_for_its_decoder_is_not_decoded_and_the_event_log_has_the_reason(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    now = [100.0]
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1, decode_threads=1)
    event_log = FileEventLog(tmp_path / "trace")
    engine = LocalEngine(settings, observer, lambda: now[0], event_log)
    await engine.load()
    first = asyncio.create_task(engine.classify(digit()))
    await blocked.wait_entered()
    second = asyncio.create_task(engine.classify(digit(deadline=1100.0)))
    await let_others_run()
    now[0] = 2000.0
    blocked.opened.set()
    await first
    with pytest.raises(DeadlineExceeded, match="waited for a decoder"):
        await second
    with pytest.raises(DeadlineExceeded, match="had passed when the request arrived"):
        await engine.classify(digit(deadline=1100.0))
    assert not blocked.entered.acquire(blocking=False)
    await engine.close()
    assert observer.rejections == [("lenet", "deadline")] * 2
    event_log.close()
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    dropped = {"event": "dropped", "at": 2000.0, "request": 2, "reason": "deadline"}
    assert [each for each in events if each["event"] == "dropped"] == [dropped]


async def log_five_requests(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> list[dict[str, Any]]:
    """Returns the events of five requests: answered, cancelled, late, refused for a full queue, and invalid."""
    blocked = BlockedDecode(monkeypatch)
    event_log = FileEventLog(tmp_path / "trace")
    now = [100.0]
    options: dict[str, Any] = {"device": "cpu", "max_batch_size": 1, "streams": 1, "decode_threads": 1}
    settings = Settings(repository=repository, models="lenet", max_queue_size=3, **options)
    engine = LocalEngine(settings, observer, clock=lambda: now[0], event_log=event_log)
    await engine.load()
    answered = asyncio.create_task(engine.classify(digit(priority=Priority.HIGH, deadline=5000.0)))
    await blocked.wait_entered()
    cancelled, late = (asyncio.create_task(engine.classify(digit(deadline=each))) for each in (None, 1100.0))
    await let_others_run()
    with pytest.raises(Overloaded):
        await engine.classify(digit())
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)
    now[0] = 2000.0
    blocked.opened.set()
    await asyncio.gather(answered, late, return_exceptions=True)
    with pytest.raises(InvalidArgument):
        await engine.classify(digit(top_k=99))
    await engine.close()
    event_log.close()
    return [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]


async def test_the_event_log_has_every_event_of_answered_refused_and_cancelled_requests(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = await log_five_requests(repository, tmp_path, observer, monkeypatch)
    by_request = {number: [each["event"] for each in events if each.get("request") == number] for number in range(1, 6)}
    assert by_request[1] == ["admitted", "ended"]
    assert by_request[2] == ["admitted", "ended"]
    assert by_request[3][0] == "admitted" and by_request[3][-1] == "ended"
    assert by_request[4] == ["refused", "ended"]
    assert by_request[5] == ["ended"]
    ends = {each["request"]: each["outcome"] for each in events if each["event"] == "ended"}
    assert ends == {1: "answered", 2: "cancelled", 3: "deadline", 4: "queue_full", 5: "invalid_argument"}
    base = {"model": "lenet", "version": 1}
    admitted = next(each for each in events if each.get("request") == 1)
    predicted = admitted.pop("predicted")
    assert admitted == base | {"event": "admitted", "at": 100.0, "request": 1, "priority": "high", "deadline": 5000.0}
    assert 100.0 < predicted < 5000.0
    refused = next(each for each in events if each["event"] == "refused")
    assert (refused["reason"], refused["deadline"], refused["priority"]) == ("queue_full", None, "normal")
    (batch,) = (each for each in events if each["event"] == "batch")
    assert batch == base | {"event": "batch", "at": 2000.0, "batch": 1, "device": "cpu", "requests": [1]}
    (ran,) = (each for each in events if each["event"] == "ran")
    assert ran == {"event": "ran", "at": 2000.0, "batch": 1, "succeeded": True}


async def test_the_event_log_has_failed_batches_and_images_dropped_before_the_device(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    event_log = FileEventLog(tmp_path / "trace")
    now = [100.0]
    options: dict[str, Any] = {"device": "cpu", "max_batch_size": 2, "streams": 1, "decode_threads": 1}
    engine = LocalEngine(
        Settings(repository=repository, models="lenet", **options), observer, lambda: now[0], event_log
    )
    await engine.load()
    blocked, runs = BlockedDecode(monkeypatch), BlockedRuns(engine)
    blocked.opened.set()
    runs.works = False
    failing = asyncio.create_task(engine.classify(digit()))
    await runs.wait_entered()
    late, last = (asyncio.create_task(engine.classify(digit(deadline=each))) for each in (1100.0, None))
    for _ in range(3):
        await blocked.wait_entered()  # once the only decoder has the last image, the late one waits for the device
    now[0] = 2000.0
    runs.opened.set()
    for task in (failing, last):
        with pytest.raises(InternalFailure):
            await task
    with pytest.raises(DeadlineExceeded, match=r"would have come 900.0\d\d s after the deadline"):
        await late
    await engine.close()
    event_log.close()
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    assert [each["succeeded"] for each in events if each["event"] == "ran"] == [False, False]
    assert [each["requests"] for each in events if each["event"] == "batch"] == [[1], [3]]
    dropped = {"event": "dropped", "at": 2000.0, "request": 2, "reason": "deadline"}
    assert [each for each in events if each["event"] == "dropped"] == [dropped]
