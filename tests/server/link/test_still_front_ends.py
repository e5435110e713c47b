"""Images that a front end is to decode while it stands still leave the queue, and come back with their pixels."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import BlockedDecode, digit, frozen, link, until

from linnaeus.server.errors import DeadlineExceeded

LANE = ("lenet", 1, 1)


@pytest.fixture(autouse=True)
def across_a_socket() -> Iterator[None]:
    token = link.set("across a socket")
    yield
    link.reset(token)


def stand_still(engine: Any) -> None:
    """Lets the core wait for the front end for so long that it takes it to stand still."""
    for _ in range(3):
        engine.server.decoders.tick()


async def test_what_a_still_front_end_was_to_decode_takes_no_place_and_is_answered_afterwards(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        held = [asyncio.create_task(engine.classify(digit(seed))) for seed in range(3)]
        await blocked.wait_entered()
        assert engine.core.queue_depth(LANE) == 3, "one is being decoded and the others wait for the only decoder"
        stand_still(engine)
        await until(lambda: engine.core.queue_depth(LANE) == 0)
        blocked.opened.set()
        assert [answer.model for answer in await asyncio.gather(*held)] == ["lenet"] * 3
        assert engine.core.queue_depth(LANE) == 0


async def test_a_message_of_a_front_end_shows_that_it_does_not_stand_still(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        first = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        for _ in range(2):
            engine.server.decoders.tick()
        second = asyncio.create_task(engine.classify(digit()))
        await until(lambda: engine.core.queue_depth(LANE) == 2)
        for _ in range(2):
            engine.server.decoders.tick()
        assert engine.core.queue_depth(LANE) == 2
        blocked.opened.set()
        await asyncio.gather(first, second)


async def test_a_withdrawn_image_may_be_cancelled_and_expires_at_its_deadline(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = BlockedDecode(monkeypatch)
    async with frozen(repository, observer) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await blocked.wait_entered()
        late = asyncio.create_task(engine.classify(digit(deadline=100.3)))
        await until(lambda: engine.core.queue_depth(LANE) == 2)
        stand_still(engine)
        await until(lambda: engine.core.queue_depth(LANE) == 0)
        cancelled.cancel()
        with pytest.raises(DeadlineExceeded, match="waited for a decoder"):
            await asyncio.wait_for(late, 60)
        await until(lambda: engine.server.in_flight == 0)
        blocked.opened.set()
        assert (await engine.classify(digit())).model == "lenet"
