"""Decoders keep out of the way of a model that wants the same cores."""

import queue
from collections.abc import Iterator

import pytest

from linnaeus.server.engine.decode_pool import DecodePool


class Pool:
    """A pool with one thread whose jobs put their names in `done`."""

    def __init__(self, shares_cores: bool = True) -> None:
        self.done: queue.Queue[str] = queue.Queue()
        self.pool = DecodePool(1, shares_cores)

    def submit(self, name: str) -> None:
        self.pool.submit(lambda: self.done.put(name))

    def next(self) -> str:
        return self.done.get(timeout=10)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.pool.close()


def test_a_picture_that_comes_while_the_device_is_free_is_decoded_at_once(pool: Pool) -> None:
    pool.submit("1")
    assert pool.next() == "1"


def test_a_picture_that_comes_during_a_run_is_decoded_after_it(pool: Pool) -> None:
    pool.submit("before")
    pool.pool.run_began()
    pool.submit("during")
    assert pool.next() == "before"
    assert pool.done.empty()
    pool.pool.run_ended()
    assert pool.next() == "during"


def test_held_pictures_are_decoded_in_their_order_each_once(pool: Pool) -> None:
    pool.pool.run_began()
    for name in "123":
        pool.submit(name)
    pool.pool.run_ended()
    pool.pool.run_began()
    pool.pool.run_ended()
    pool.submit("4")
    assert [pool.next() for _ in range(4)] == ["1", "2", "3", "4"]
    assert pool.done.empty()


def test_a_gpu_leaves_the_cores_to_the_decoders() -> None:
    pool = Pool(shares_cores=False)
    pool.pool.run_began()
    pool.submit("1")
    assert pool.next() == "1"
    pool.pool.close()
