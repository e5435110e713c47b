"""An engine on a repository of one model, for the tests of loading and unloading."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy
import pytest

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request

PATIENCE_SECONDS = 60


@asynccontextmanager
async def running(root: Path, observer: Any, **settings: Any) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(Settings(repository=root, device="cpu", max_batch_size=2, **settings), observer)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


def request(model: str = "m", version: str = "") -> Request:
    return Request(RawPixels(numpy.zeros(30 * 30, numpy.uint8).tobytes(), 30, 30, 1), model=model, version=version)


async def answering_version(engine: LocalEngine, version: str = "") -> tuple[int, str]:
    """Returns the number of the version that answers, and the first word of its label."""
    answer = await engine.classify(request(version=version))
    return answer.version, answer.classes[0].label.split()[0]


def states(engine: LocalEngine) -> dict[int, ModelState]:
    return {version: entry.state for version, entry in engine.catalog.versions("m").items()}


class BlockedFunction:
    """A replacement for a module's function that blocks other threads until `opened` is set; counts its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> None:
        self.opened = threading.Event()
        self._entered = threading.Semaphore(0)
        self.calls = 0
        real = getattr(module, name)

        def held(*arguments: Any) -> Any:
            self.calls += 1
            self._entered.release()
            if not self.opened.wait(PATIENCE_SECONDS):
                raise TimeoutError
            return real(*arguments)

        monkeypatch.setattr(module, name, held)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.acquire, timeout=PATIENCE_SECONDS)


async def run_event_loop(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
