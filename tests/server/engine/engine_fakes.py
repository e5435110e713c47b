"""Engines with real models, and fakes that block decoding and runs, for the tests of the engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.server.engine.linked_engine import LinkedEngine

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads as decoders_module
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request
from linnaeus.server.runtime.model import Model

# The engines that a test runs with, and the name of the one that it runs with now; see the fixture `both_links`.
ENGINES: dict[str, type[Any]] = {"in process": LocalEngine, "across a socket": LinkedEngine}
link = ContextVar("link", default="in process")


@asynccontextmanager
async def running(repository: Path, observer: Any, **settings: Any) -> AsyncIterator[LocalEngine]:
    engine = ENGINES[link.get()](Settings(repository=repository, device="cpu", **settings), observer)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


def digit(seed: int = 0, **changes: Any) -> Request:
    data = numpy.random.default_rng(seed).integers(0, 256, 30 * 30, numpy.uint8).tobytes()
    return Request(RawPixels(data, 30, 30, 1), model="lenet")._replace(**changes)


async def let_others_run() -> None:
    """Runs every task that is ready once."""
    await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Lets the event loop run until the condition holds."""
    while not condition():
        await asyncio.sleep(0)


class BlockedDecode:
    """A replacement for `decode` that blocks, for one image or for all, until the test sets `opened`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, blocked_image: Any = None) -> None:
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        real = decoders_module.decode

        def decode(image: Any, *arguments: Any) -> Any:
            if blocked_image is None or image is blocked_image:
                self.entered.release()
                if not self.opened.wait(30):
                    raise TimeoutError
            return real(image, *arguments)

        monkeypatch.setattr(decoders_module, "decode", decode)

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)


@asynccontextmanager
async def frozen(repository: Path, observer: Any, **settings: Any) -> AsyncIterator[LocalEngine]:
    """Runs an engine on a clock that stands still; deadlines still expire, because the event loop has its own clock."""
    options = {"models": "lenet", "device": "cpu", "max_batch_size": 1, "streams": 1, "decode_threads": 1} | settings
    engine = ENGINES[link.get()](Settings(repository=repository, **options), observer, clock=lambda: 100.0)
    await engine.load()
    try:
        yield engine
    finally:
        await engine.close()


def model_of(engine: LocalEngine) -> Model:
    """Returns the only version on its only device."""
    (model,) = engine.core.devices.models(engine.catalog.entries()[0].lane)
    return model


class BlockedRuns:
    """A wrapper of a model's `run` that blocks until the test sets `opened`, and then fails unless `works`."""

    def __init__(self, engine: LocalEngine) -> None:
        model: Any = model_of(engine)
        self.opened = threading.Event()
        self.entered = threading.Semaphore(0)
        self.count = 0
        self.works = True
        real = model.run

        def run(images: Sequence[Any], k: int, want_features: bool = False) -> Any:
            self.count += 1
            self.entered.release()
            if not self.opened.wait(30):
                raise TimeoutError
            if not self.works:
                raise RuntimeError("lost")
            return real(images, k, want_features)

        model.run = run

    async def wait_entered(self) -> None:
        assert await asyncio.to_thread(self.entered.acquire, timeout=30)
