"""ByteBudget: nobody holds more than allowed, waiting is bounded, and callers that send nothing keep nobody out."""

import asyncio
from typing import Any

import pytest

from linnaeus.server.errors import Overloaded
from linnaeus.server.security.byte_budget import ByteBudget, Reservation

MESSAGE = 100


class Clock:
    """A clock that stands still unless a test moves it."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def budget_of(messages: int, per_caller: int, clock: Clock, patience_seconds: float = 60.0) -> ByteBudget:
    return ByteBudget(MESSAGE, messages * MESSAGE, per_caller * MESSAGE, 1.0, patience_seconds, clock)


async def run_pending_tasks() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


class Call:
    """A call that waits for room, then for a message that never comes."""

    def __init__(self, budget: ByteBudget, caller: str) -> None:
        self.reservation: Reservation | None = None
        self.task = asyncio.create_task(self._read(budget, caller))

    async def _read(self, budget: ByteBudget, caller: str) -> None:
        self.reservation = await budget.reserve(caller)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.reservation.raise_if_ended()
            raise
        finally:
            self.reservation.release()


async def test_a_call_holds_the_largest_message_until_its_own_has_come(clock: Clock) -> None:
    budget = budget_of(2, 2, clock)
    reservation = await budget.reserve("a")
    assert budget.held_bytes == MESSAGE
    reservation.received(30)
    assert (budget.held_bytes, reservation.held_bytes) == (30, 30)
    reservation.release()
    reservation.release()
    assert budget.held_bytes == 0


@pytest.mark.parametrize(("total", "share"), [(2, 2), (4, 2)])
async def test_a_call_without_room_is_refused_with_a_retry_hint(clock: Clock, total: int, share: int) -> None:
    budget = budget_of(total, share, clock, patience_seconds=0.0)
    held = [await budget.reserve("a") for _ in range(2)]
    with pytest.raises(Overloaded) as refused:
        await budget.reserve("a")
    assert refused.value.retry_after_seconds == 1.0
    held[0].release()
    assert await budget.reserve("a")


async def test_the_share_of_one_caller_leaves_room_to_others(clock: Clock) -> None:
    budget = budget_of(4, 2, clock)
    greedy = [Call(budget, "greedy") for _ in range(10)]
    await run_pending_tasks()
    assert sum(call.reservation is not None for call in greedy) == 2
    assert await budget.reserve("modest")
    for call in greedy:
        call.task.cancel()


async def test_callers_that_wait_get_room_in_turns(clock: Clock) -> None:
    budget = budget_of(1, 1, clock)
    first = await budget.reserve("a")
    calls = [Call(budget, caller) for caller in ("b", "b", "b", "c")]
    await run_pending_tasks()
    first.release()
    order = []
    for _ in calls:
        await run_pending_tasks()
        [served] = [call for call in calls if call.reservation is not None and not call.task.done()]
        order.append(calls.index(served))
        served.task.cancel()
        await run_pending_tasks()
    assert order == [0, 3, 1, 2]
    assert budget.held_bytes == 0


async def test_a_call_that_sends_no_message_gives_way_after_a_second_to_one_that_waits(clock: Clock) -> None:
    budget = budget_of(2, 1, clock)
    silent = [Call(budget, "x"), Call(budget, "y")]
    await run_pending_tasks()
    clock.now = 0.5
    waiting = Call(budget, "z")
    await run_pending_tasks()
    assert waiting.reservation is None and not any(call.task.done() for call in silent)
    clock.now = 1.0
    later = Call(budget, "z")
    await run_pending_tasks()
    with pytest.raises(Overloaded, match="no message came within 1.0 s"):
        await silent[0].task
    assert waiting.reservation is not None
    for call in (*silent, waiting, later):
        call.task.cancel()


async def test_only_the_callers_own_calls_give_way_to_it_if_its_share_is_used_up(clock: Clock) -> None:
    budget = budget_of(4, 1, clock)
    other, own = Call(budget, "other"), Call(budget, "own")
    await run_pending_tasks()
    clock.now = 1.0
    waiting = Call(budget, "own")
    await run_pending_tasks()
    with pytest.raises(Overloaded):
        await own.task
    assert not other.task.done() and waiting.reservation is not None
    for call in (other, waiting):
        call.task.cancel()


async def test_a_call_whose_message_has_come_never_gives_way(clock: Clock) -> None:
    budget = budget_of(1, 1, clock, patience_seconds=0.01)
    reservation = await budget.reserve("a")
    reservation.received(MESSAGE)
    clock.now = 100.0
    waiting = asyncio.create_task(budget.reserve("b"))
    await run_pending_tasks()
    assert not reservation.was_ended
    clock.now = 200.0
    with pytest.raises(Overloaded):
        await waiting


async def test_a_cancelled_call_is_not_told_that_it_gave_way(clock: Clock) -> None:
    budget = budget_of(1, 1, clock)
    call = Call(budget, "a")
    await run_pending_tasks()
    call.task.cancel()
    await run_pending_tasks()
    assert call.task.cancelled() and budget.held_bytes == 0


async def test_a_call_cancelled_while_it_waits_leaves_its_place(clock: Clock) -> None:
    budget = budget_of(1, 1, clock)
    first = await budget.reserve("a")
    gone, next_one = Call(budget, "b"), Call(budget, "b")
    await run_pending_tasks()
    gone.task.cancel()
    await run_pending_tasks()
    first.release()
    await run_pending_tasks()
    assert gone.reservation is None and next_one.reservation is not None
    next_one.task.cancel()
    await run_pending_tasks()
    assert budget.held_bytes == 0


def test_a_budget_without_room_for_one_message_is_refused(clock: Clock) -> None:
    with pytest.raises(ValueError, match="must fit"):
        ByteBudget(100, 1000, 99)


async def test_the_memory_of_large_messages_is_given_back_and_small_ones_cost_nothing(clock: Clock) -> None:
    class Noted:
        times = 0

        def note(self) -> None:
            self.times += 1

    noted: Any = Noted()
    budget = ByteBudget(32 << 20, 64 << 20, 64 << 20, clock=clock, freed_memory=noted)
    for length, times in ((1000, 0), (30 << 20, 1), (1000, 1)):
        reservation = await budget.reserve("caller")
        reservation.received(length)
        reservation.release()
        assert noted.times == times
