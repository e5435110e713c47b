"""Pixels that cross the link in shared memory."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedDecode, digit, running, until
from tests.server.engine.linked_engine import LinkedEngine

from linnaeus.server.config.settings import Settings
from linnaeus.server.link import remote_queue
from linnaeus.server.requests.picture import RawPixels


@pytest.fixture(autouse=True)
def in_shared_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has even the digits' few bytes travel in shared memory."""
    monkeypatch.setattr(remote_queue, "_SMALL_BYTES", 0)


@pytest.fixture
async def linked(repository: Path, observer: Any) -> Any:
    engine = LinkedEngine(Settings(repository=repository, models="lenet", device="cpu", max_batch_size=4), observer)
    await engine.load()
    yield engine
    await engine.close()


def as_it_is(seed: int) -> Any:
    """Returns a request whose image needs no decoding."""
    return digit(seed)._replace(image=RawPixels(bytes((seed * place) % 251 for place in range(784)), 28, 28, 1))


async def test_answers_are_those_of_one_process_and_all_memory_is_free_afterwards(
    linked: Any, repository: Path, observer: Any
) -> None:
    requests = [*map(digit, range(8)), *map(as_it_is, range(1, 9))]
    across = await asyncio.gather(*map(linked.classify, requests))
    assert linked.remote.queue.memory.held == 0
    async with running(repository, observer, models="lenet", max_batch_size=4) as local:
        here = await asyncio.gather(*map(local.classify, requests))
    assert [each.ranking.indices for each in across] == [each.ranking.indices for each in here]


async def test_a_cancelled_request_frees_its_memory(linked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = BlockedDecode(monkeypatch)
    held = [asyncio.create_task(linked.classify(digit(seed))) for seed in range(3)]
    await blocked.wait_entered()
    for task in held:
        task.cancel()
    await asyncio.gather(*held, return_exceptions=True)
    blocked.opened.set()
    assert (await linked.classify(as_it_is(1))).model == "lenet"
    await until(lambda: linked.remote.queue.memory.held == 0 and linked.in_flight == 0)


async def test_without_room_in_the_memory_pixels_travel_in_the_message(
    linked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linked.remote.queue.memory, "write", lambda pixels: None)
    assert (await linked.classify(digit())).model == "lenet"
    assert (await linked.classify(as_it_is(1))).model == "lenet"
