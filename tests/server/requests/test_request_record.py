"""What a follower learns of an engine's requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.delivery import Delivery
from linnaeus.server.engine.engine import Engine
from linnaeus.server.errors import InvalidImage, ModelNotFound
from linnaeus.server.requests.event_log import NoTrace
from linnaeus.server.requests.lane import Lane
from linnaeus.server.requests.picture import EncodedImage, RawPixels
from linnaeus.server.requests.request import BatchOutcome, Request, Work
from linnaeus.server.requests.request_record import Followers, Journey, Run
from linnaeus.server.scheduling import Batch, BatchQueue, Priority, Ticket


@dataclass
class Following:
    """A follower of all numbers but those that are left out."""

    left_out: frozenset[int] = frozenset()
    journeys: list[Journey] = field(default_factory=list)
    marks: list[object] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def meet(self, number: int) -> object | None:
        return None if number in self.left_out else f"mark {number}"

    def ended(self, mark: object, journey: Journey) -> None:
        self.marks.append(mark)
        self.journeys.append(journey)

    def ran(self, run: Run) -> None:
        self.runs.append(run)


@pytest.fixture
def following() -> Following:
    return Following(frozenset({2}))


@pytest.fixture
async def engine(repository: Path, heard: Any, following: Following) -> AsyncIterator[Engine]:
    made = Engine(Settings(repository=repository, models="lenet", device="cpu"), heard, follower=following)
    await made.load()
    yield made
    await made.close()


def digit(**fields: Any) -> Request:
    return Request(**{"image": RawPixels(bytes(28 * 28), 28, 28, 1), "model": "lenet", **fields})


async def test_an_answered_request_is_told_with_its_run_and_only_if_it_is_followed(
    engine: Engine, following: Following
) -> None:
    for _ in range(3):
        await engine.classify(digit(priority=Priority.LOW))
    assert following.marks == ["mark 1", "mark 3"]
    first = following.journeys[0]
    assert (first.model, first.version, first.outcome, first.priority) == ("lenet", 1, "answered", Priority.LOW)
    assert first.image_bytes == 28 * 28 and first.timeout_seconds is None
    assert first.run is not None and first.run.size == 1 and first.run.succeeded
    assert [run.number for run in following.runs] == [1, 2, 3]
    stages = list(first.stages())
    assert [stage.name for stage in stages] == ["decoder_queue", "decode", "queue", "inference"]
    moments = [first.came_at, *(moment for stage in stages for moment in stage[1:]), first.ended_at]
    assert moments == sorted(moments)


async def test_every_way_to_get_no_answer_is_told_once(engine: Engine, following: Following) -> None:
    with pytest.raises(ModelNotFound):
        await engine.classify(digit(model="no-such-model"))
    with pytest.raises(ModelNotFound):
        await engine.classify_many([digit(model="no-such-model")] * 2)
    with pytest.raises(InvalidImage):
        await engine.classify(digit(image=EncodedImage(b"no picture")))
    leaving = asyncio.create_task(engine.classify(digit()))
    await asyncio.sleep(0)  # it has begun
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    outcomes = [(journey.number, journey.model, journey.outcome) for journey in following.journeys]
    assert outcomes == [
        (1, "", "not_found"),
        (3, "", "not_found"),
        (4, "lenet", "invalid_image"),
        (5, "lenet", "cancelled"),
    ]


async def test_images_that_a_lost_device_gives_back_are_part_of_no_run(heard: Any, following: Following) -> None:
    queue: BatchQueue[Work] = BatchQueue(lambda: 5.0, 1)
    work = Work(
        1, RawPixels(b"", 0, 0, 1), InputSpec(1, 28, 28, 28, "bilinear"), 1, asyncio.get_running_loop().create_future()
    )
    lane = Lane("lenet", 1, 1)
    ticket = Ticket(lane, work, None, Priority.NORMAL, 1.0, 0.0, 0, 1.0, 2.0, 1)
    batch = Batch(9, lane, "cpu", [ticket], [], 0, 5.0, 0.1)
    delivery = Delivery(queue, heard, NoTrace(), lambda: 6.0, following)
    delivery.began(batch)
    assert work.run is not None and (work.run.number, work.run.size, work.run.taken_at) == (9, 1, 5.0)
    delivery.hand_back(batch, BatchOutcome(lane, "cpu", 0, 0.0, [], 5.5))
    assert work.run is None, "another device may take it now"
    await asyncio.sleep(0)
    assert [(run.number, run.finished_at, run.succeeded) for run in following.runs] == [(9, 5.5, False)]


def test_several_followers_get_each_their_own_back() -> None:
    one, other = Following(frozenset({1, 2})), Following(frozenset({2}))
    both = Followers(one, other)
    assert both.meet(2) is None
    for number in (1, 3):
        mark = both.meet(number)
        assert mark is not None
        both.ended(mark, Journey(number, "lenet", 1, "answered", Priority.NORMAL, 1, None, 0.0, 1.0))
    both.ran(Run(1, "lenet", 1, "cpu", 1, 0.0))
    assert (one.marks, other.marks) == (["mark 3"], ["mark 1", "mark 3"])
    assert len(one.runs) == len(other.runs) == 1
