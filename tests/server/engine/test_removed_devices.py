"""Tests of the engine: removal of the last device."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedRuns, digit, frozen

from linnaeus.server.errors import Unavailable
from linnaeus.server.execution import device_pool

pytestmark = pytest.mark.usefixtures("both_links")


async def test_when_the_last_device_is_removed_all_requests_end_as_unavailable(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: False)
    async with frozen(repository, observer) as engine:
        runs = BlockedRuns(engine)
        runs.works = False
        held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(5)]
        await runs.wait_entered()
        assert engine.device_states == {"cpu": True}
        engine.health_changed.clear()
        runs.opened.set()
        for refusal in await asyncio.wait_for(asyncio.gather(*held, return_exceptions=True), 60):
            assert isinstance(refusal, Unavailable) and refusal.retry_after_seconds > 0
        await asyncio.wait_for(engine.health_changed.wait(), 60)
        assert engine.device_states == {"cpu": False}
        with pytest.raises(Unavailable, match="every device that runs model lenet has failed; try another server"):
            await engine.classify(digit())
        assert engine.in_flight == 0 and engine.core.queue_depth(("lenet", 1, 1)) == 0
    assert runs.count == 1
    assert observer.rejections == [("lenet", "unavailable")] * 6


async def test_a_removed_device_does_not_keep_the_engine_from_closing(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: False)
    async with frozen(repository, observer, streams=3, decode_threads=2) as engine:
        runs = BlockedRuns(engine)
        runs.works = False
        runs.opened.set()
        with pytest.raises(Unavailable):
            await engine.classify(digit())
        await asyncio.wait_for(engine.close(), 60)
