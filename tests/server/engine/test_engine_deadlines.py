"""Tests of the engine: deadlines, cancellation and priorities."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedDecode, BlockedRuns, digit, frozen, let_others_run, running, until

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.errors import DeadlineExceeded, InvalidImage
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.requests.request import Priority
from linnaeus.server.scheduling import BatchQueue

pytestmark = pytest.mark.usefixtures("both_links")


async def test_a_cancelled_request_frees_its_place_and_is_never_run(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", max_batch_size=1) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await until(lambda: engine.in_flight == 0 and engine.core.queue_depth(("lenet", 1, 1)) == 0)
        blocked.opened.set()
        await engine.classify(digit())
    assert observer.cancellations == [("lenet", "decode")]
    assert sum(report.size for report in observer.batches) == 1


async def test_a_deadline_ends_requests_before_and_during_decoding(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        at_decoder = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        await blocked.wait_entered()
        behind = asyncio.create_task(engine.classify(digit(deadline=100.3)))  # across a socket it is sent on at once
        waiting = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        for task, stage in ((at_decoder, "decode"), (behind, "(decode|admitted)"), (waiting, "admitted")):
            with pytest.raises(DeadlineExceeded, match=f"the image was at the stage {stage}"):
                await asyncio.wait_for(task, 60)
        assert not blocked.opened.is_set(), "they end while the decoder is blocked"
        await until(lambda: engine.in_flight == 0 and engine.core.queue_depth(("lenet", 1, 1)) == 0)
        blocked.opened.set()
        await engine.classify(digit())
    assert blocked.entered.acquire(blocking=False) and not blocked.entered.acquire(blocking=False), (
        "the second and the third image are not decoded"
    )
    assert sum(report.size for report in observer.batches) == 1
    assert observer.rejections == [("lenet", "deadline")] * 3 and observer.cancellations == []


async def test_a_deadline_ends_requests_before_and_during_their_run(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with frozen(repository, observer) as engine:
        runs = BlockedRuns(engine)
        running = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        await runs.wait_entered()
        waiting = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        with pytest.raises(DeadlineExceeded, match="at the stage inference"):
            await asyncio.wait_for(running, 60)
        with pytest.raises(DeadlineExceeded, match="at the stage (queue|decode|admitted)"):
            await asyncio.wait_for(waiting, 60)
        assert not runs.opened.is_set()
        runs.opened.set()
        await engine.classify(digit())
    assert runs.count == 2, "the waiting image is not run"


async def test_a_request_without_a_deadline_ends_at_its_models_default_timeout(
    repository: Path, tmp_path: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    (tmp_path / "lenet" / "config.toml").write_text("default_timeout_seconds = 0.3\n")
    async with frozen(tmp_path, observer) as engine:
        blocked = BlockedDecode(monkeypatch)
        hasty = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        patient = asyncio.create_task(engine.classify(digit(deadline=5000.0)))
        with pytest.raises(DeadlineExceeded):
            await asyncio.wait_for(hasty, 60)
        assert not patient.done(), "the request's deadline overrides the model's default"
        blocked.opened.set()
        assert (await patient).model == "lenet"


async def test_a_request_without_any_deadline_waits_without_limit(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    now = [100.0]
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=1, decode_threads=1)
    engine = LocalEngine(settings, observer, clock=lambda: now[0])
    await engine.load()
    held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(3)]
    await blocked.wait_entered()
    now[0] = 1e6
    blocked.opened.set()
    assert [answer.model for answer in await asyncio.gather(*held)] == ["lenet"] * 3
    await engine.close()


async def test_the_more_urgent_priority_is_served_first(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        order: list[str] = []

        async def ask(priority: Priority) -> None:
            await engine.classify(digit(priority=priority))
            order.append(priority.name)

        first = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        asked = [asyncio.create_task(ask(each)) for each in (Priority.LOW, Priority.NORMAL, Priority.HIGH)]
        await let_others_run()
        blocked.opened.set()
        await asyncio.gather(first, *asked)
    assert order == ["HIGH", "NORMAL", "LOW"]


async def test_an_image_cancelled_before_decoding_is_never_decoded(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        first = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled = asyncio.create_task(engine.classify(digit()))
        await let_others_run()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        await until(lambda: engine.in_flight == 1 and engine.core.queue_depth(("lenet", 1, 1)) == 1)
        blocked.opened.set()
        await first
        assert not blocked.entered.acquire(blocking=False), "the cancelled image is not decoded"
    assert observer.cancellations == [("lenet", "admitted")]
    assert sum(report.size for report in observer.batches) == 1


async def test_only_a_cancellation_by_the_caller_counts_as_the_callers(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_caller_flags: list[bool] = []
    real = BatchQueue.cancel

    def cancel(queue: Any, ticket: Any, by_caller: bool = True) -> Any:
        by_caller_flags.append(by_caller)
        return real(queue, ticket, by_caller)

    monkeypatch.setattr(BatchQueue, "cancel", cancel)
    blocked = BlockedDecode(monkeypatch)
    async with running(repository, observer, models="lenet", decode_threads=1) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        cancelled.cancel()
        await asyncio.gather(cancelled, return_exceptions=True)
        await until(lambda: by_caller_flags == [True])
        blocked.opened.set()
        with pytest.raises(InvalidImage):
            await engine.classify(digit()._replace(image=EncodedImage(b"no picture")))
        await until(lambda: by_caller_flags == [True, False])
