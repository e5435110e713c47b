"""A fault of the engine at a message is answered with an error, so that no caller of a front end waits for ever."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import digit, link, running

from linnaeus.server.errors import InternalFailure
from linnaeus.server.requests.lane_key import LaneKey


@pytest.fixture(autouse=True)
def across_a_socket() -> Iterator[None]:
    token = link.set("across a socket")
    yield
    link.reset(token)


def without_memory(*arguments: Any, **more: Any) -> Any:
    raise MemoryError


async def test_an_operation_that_fails_in_the_engine_is_answered(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet") as engine:
        engine.core.model_manager.load_model = without_memory
        async with asyncio.timeout(30):
            with pytest.raises(InternalFailure, match="log reference"):
                await engine.remote.model_manager.load_model("lenet")


async def test_figures_that_cannot_be_had_are_an_error(repository: Path, observer: Any) -> None:
    async with running(repository, observer, models="lenet") as engine:
        engine.core.batch_seconds = without_memory
        async with asyncio.timeout(30):
            with pytest.raises(InternalFailure, match="log reference"):
                await engine.remote.figures(LaneKey("lenet", 1, 1))


@pytest.mark.parametrize("method", ["admit", "put"])
async def test_a_request_that_the_engine_fails_to_admit_or_to_queue_is_answered(
    repository: Path, observer: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(repository, observer, models="lenet") as engine:
        owner = engine.core if method == "admit" else engine.core.queue
        with monkeypatch.context() as broken:
            broken.setattr(owner, method, without_memory)
            async with asyncio.timeout(30):
                with pytest.raises(InternalFailure, match="log reference"):
                    await engine.classify(digit())
        assert (await engine.classify(digit())).model == "lenet"
        assert engine.server.in_flight == 0
