"""Whoever usually leaves before the answer is held back on a busy device, and nobody else ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable, Priority, Stage, Ticket
from linnaeus.server.scheduling.cancelling_callers import Habits


def told(*left_after: float | None) -> Habits:
    habits = Habits()
    for seconds in left_after:
        habits.ended("caller", seconds)
    return habits


def test_who_always_leaves_is_held_about_as_long_as_it_usually_stays() -> None:
    habits = told(*(place / 1000 for place in range(1, 31)))
    assert 0.025 <= habits.hold_seconds("caller") <= 0.03


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([0.01] * 7, id="too few calls to tell"),
        pytest.param([0.01] * 7 + [None] * 8, id="stays for most"),
        pytest.param([None] * 32, id="always stays"),
        pytest.param([0.01] * 100 + [None] * 17, id="stays of late"),
    ],
)
def test_others_are_not_held(calls: list[float | None]) -> None:
    assert told(*calls).hold_seconds("caller") == 0.0


def test_callers_are_told_apart_and_unknown_ones_are_not_held() -> None:
    assert told(*[0.01] * 20).hold_seconds("another") == 0.0


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=50))
def test_nobody_is_held_for_long(calls: list[float | None]) -> None:
    assert 0.0 <= told(*calls).hold_seconds("caller") <= 0.2


def test_memory_is_bounded_and_those_heard_of_last_are_remembered() -> None:
    habits = Habits()
    for number in range(3000):
        for _ in range(8):
            habits.ended(f"caller {number}", 0.01)
    assert habits.hold_seconds("caller 2999") > 0.0
    assert habits.hold_seconds("caller 0") == 0.0


class Desk:
    """A queue with one device of one stream, and a caller that left twenty times after 40 ms."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue: BatchQueue[str] = BatchQueue(lambda: self.now)
        self.queue.open_lane("m", LaneLimits(4, 100), {"d": LatencyTable({1: 0.01, 4: 0.02})})
        self.queue.add_device("d", 1)
        for _ in range(20):
            ticket = self.admit("leaver")
            self.now += 0.04
            self.queue.abandon(ticket)

    def admit(self, caller: str, deadline: float | None = None) -> Ticket[str]:
        return self.queue.admit("m", caller, deadline, Priority.NORMAL, 1, caller)

    def decodes(self) -> str | None:
        turn = self.queue.next_to_decode_nowait()
        return None if turn is None or not turn.tickets else turn.tickets[0].payload

    def occupy(self) -> None:
        ticket = self.admit("stayer")
        assert self.decodes() == "stayer"
        self.queue.put({ticket: 0.0})
        assert self.queue.take_nowait("d") is not None


def test_on_a_busy_device_nothing_is_done_for_a_leaver_until_it_outlived_its_habit() -> None:
    desk = Desk()
    desk.occupy()
    desk.admit("leaver")
    desk.admit("stayer")
    assert desk.decodes() == "stayer"
    assert desk.decodes() is None
    desk.now += 0.041
    assert desk.decodes() == "leaver"


def test_a_call_that_failed_is_not_held_against_its_caller() -> None:
    desk = Desk()
    for _ in range(20):
        ticket = desk.admit("unlucky")
        desk.now += 0.04
        desk.queue.abandon(ticket, left=False)
    desk.occupy()
    desk.admit("unlucky")
    assert desk.decodes() == "unlucky"


def test_on_an_idle_device_it_is_served_like_anybody() -> None:
    desk = Desk()
    desk.admit("leaver")
    assert desk.decodes() == "leaver"


def test_it_is_not_held_past_its_deadline() -> None:
    desk = Desk()
    desk.occupy()
    desk.admit("leaver", deadline=desk.now + 0.05)
    assert desk.decodes() == "leaver"


def test_who_leaves_while_held_leaves_nothing_behind() -> None:
    desk = Desk()
    desk.occupy()
    ticket = desk.admit("leaver")
    assert desk.queue.depth("m") == 1
    assert desk.queue.abandon(ticket) is Stage.ADMITTED
    assert desk.queue.depth("m") == 0
    desk.now += 1.0
    assert desk.decodes() is None


def test_a_closed_queue_holds_nothing_back() -> None:
    desk = Desk()
    desk.occupy()
    desk.admit("leaver")
    desk.queue.close()
    assert desk.decodes() == "leaver"


def test_who_is_held_when_the_last_device_is_lost_is_told_so_too() -> None:
    desk = Desk()
    desk.occupy()
    ticket = desk.admit("leaver")
    assert desk.queue.remove_device("d") == [ticket]
    assert desk.queue.depth("m") == 0
