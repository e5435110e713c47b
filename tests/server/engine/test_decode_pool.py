"""Decoders keep out of the way of a model that wants the same cores."""

import os
import queue

import pytest

from linnaeus.server.engine.decode_pool import DecodePool


def _policy_in(pool: DecodePool) -> int:
    """The scheduling policy of the pool's threads."""
    told: queue.Queue[int] = queue.Queue()
    pool.submit(lambda: told.put(os.sched_getscheduler(0)))
    return told.get(timeout=10)


@pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="Linux only")
@pytest.mark.parametrize(("in_background", "policy"), [(True, "SCHED_IDLE"), (False, "SCHED_OTHER")])
def test_decoders_in_the_background_give_way_to_all_other_threads(in_background: bool, policy: str) -> None:
    pool = DecodePool(1, in_background)
    assert _policy_in(pool) == getattr(os, policy)
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "only the decoders give way"
    pool.close()


def test_a_system_that_forbids_giving_way_decodes_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", forbidden)
    done: queue.Queue[str] = queue.Queue()
    pool = DecodePool(1, in_background=True)
    pool.submit(lambda: done.put("decoded"))
    assert done.get(timeout=10) == "decoded"
    pool.close()


def test_pictures_are_decoded_in_their_order_each_once() -> None:
    done: queue.Queue[int] = queue.Queue()
    pool = DecodePool(1, in_background=True)
    for number in range(5):
        pool.submit(lambda number=number: done.put(number))  # type: ignore[misc]
    assert [done.get(timeout=10) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert done.empty()
    pool.close()
