"""`classify_many` of both clients: one outcome an image, and no reading far ahead of what the caller takes."""

import asyncio
import threading

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.bulk.many_images import Counted

from linnaeus.client import Classification, InvalidImage, ScoredClass, Timings
from linnaeus.client.aio.many import classify_many as classify_many_aio
from linnaeus.client.bulk.concurrency_window import ReorderBuffer
from linnaeus.client.sync.many import classify_many

PATIENCE_SECONDS = 60
TINY = Classification((ScoredClass(0, "cat", 1.0),), "lenet", 1, 1, Timings(0.0, 0.0, 0.0))

runs = given(
    count=st.integers(0, 40),
    concurrency=st.integers(1, 8),
    ordered=st.booleans(),
    choices=st.lists(st.integers(0, 1000), min_size=1, max_size=40),
    bad=st.sets(st.integers(0, 39)),
)
few = settings(max_examples=40, deadline=None)


def check_promises(pictures: Counted, outcomes, count, concurrency, ordered, bad) -> None:
    indices = [outcome.index for outcome in outcomes]
    assert sorted(indices) == list(range(count))
    assert indices == sorted(indices) or not ordered
    assert {outcome.index for outcome in outcomes if not outcome.ok} == {index for index in bad if index < count}
    assert all(outcome.source == str(outcome.index).encode() for outcome in outcomes)
    assert pictures.ahead <= concurrency


class BlockedCalls:
    """Blocks every call; another thread releases them in an order that depends on `choices`."""

    def __init__(self, choices: list[int], bad: set[int]) -> None:
        self._choices, self._bad = choices, bad
        self._waiting: list[threading.Event] = []
        self._changed = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._release)
        self._thread.start()

    def classify(self, image, calls) -> Classification:
        released = threading.Event()
        with self._changed:
            self._waiting.append(released)
            self._changed.notify()
        if not released.wait(PATIENCE_SECONDS):
            raise TimeoutError("the call was not released")
        if int(image) in self._bad:
            raise InvalidImage("no picture")
        return TINY

    def end(self) -> None:
        with self._changed:
            self._over = True
            self._changed.notify()
        self._thread.join()

    def _release(self) -> None:
        for turn in range(10_000):
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._over, PATIENCE_SECONDS)
                if not self._waiting:
                    return
                self._waiting.pop(self._choices[turn % len(self._choices)] % len(self._waiting)).set()


@few
@runs
def test_every_image_has_one_outcome_and_the_reading_is_bounded(count, concurrency, ordered, choices, bad):
    pictures, calls, outcomes = Counted(count), BlockedCalls(choices, bad), []
    for outcome in classify_many(pictures, calls.classify, concurrency=concurrency, ordered=ordered):
        pictures.taken += 1
        outcomes.append(outcome)
    calls.end()
    check_promises(pictures, outcomes, count, concurrency, ordered, bad)


@few
@runs
def test_every_image_has_one_outcome_and_the_reading_is_bounded_with_asyncio(count, concurrency, ordered, choices, bad):
    pictures, outcomes = Counted(count), []
    turns = iter(range(10_000))

    async def classify(image, calls):
        for _ in range(choices[next(turns) % len(choices)] % 7):
            await asyncio.sleep(0)
        if int(image) in bad:
            raise InvalidImage("no picture")
        return TINY

    async def run():
        images = pictures.aiter() if choices[0] % 2 else pictures
        async for outcome in classify_many_aio(images, classify, concurrency=concurrency, ordered=ordered):
            pictures.taken += 1
            outcomes.append(outcome)
            await asyncio.sleep(0)

    asyncio.run(run())
    check_promises(pictures, outcomes, count, concurrency, ordered, bad)


@given(arrivals=st.permutations(range(12)), ordered=st.booleans())
def test_the_reorder_buffer_returns_each_item_once_in_order(arrivals, ordered):
    buffer, returned = ReorderBuffer(ordered=ordered), []
    for index in arrivals:
        buffer.add(index, index)
        while (item := buffer.pop()) is not None:
            returned.append(item)
    assert returned == (sorted(arrivals) if ordered else list(arrivals))


def test_a_million_images_are_read_only_as_outcomes_are_taken(run):
    pictures = Counted(1_000_000)
    outcomes, _ = run(pictures, take=3, concurrency=4)
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert pictures.read <= 3 + 4
