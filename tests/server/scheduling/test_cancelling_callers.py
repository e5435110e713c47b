"""Whoever usually leaves before the answer is held back on a busy device, and nobody else ever."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable, Priority, Stage, Ticket
from linnaeus.server.scheduling.cancelling_callers import CancellingCallers


def history_of(*cancelled_after: float | None) -> CancellingCallers:
    history = CancellingCallers()
    for seconds in cancelled_after:
        history.record("caller", seconds)
    return history


def test_a_caller_that_always_cancels_is_held_about_as_long_as_it_usually_stays() -> None:
    history = history_of(*(place / 1000 for place in range(1, 31)))
    assert 0.025 <= history.hold_seconds("caller") <= 0.03


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
    assert history_of(*calls).hold_seconds("caller") == 0.0


def test_callers_are_told_apart_and_unknown_ones_are_not_held() -> None:
    assert history_of(*[0.01] * 20).hold_seconds("another") == 0.0


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=50))
def test_nobody_is_held_for_long(calls: list[float | None]) -> None:
    assert 0.0 <= history_of(*calls).hold_seconds("caller") <= 0.2


def test_memory_is_bounded_and_those_heard_of_last_are_remembered() -> None:
    history = CancellingCallers()
    for number in range(3000):
        for _ in range(8):
            history.record(f"caller {number}", 0.01)
    assert history.hold_seconds("caller 2999") > 0.0
    assert history.hold_seconds("caller 0") == 0.0


class Harness:
    """A queue with one device of one worker, and a caller that left twenty times after 40 ms."""

    def __init__(self) -> None:
        self.now = 0.0
        self.queue: BatchQueue[str] = BatchQueue(lambda: self.now)
        self.queue.open_lane("m", LaneLimits(4, 100), {"d": LatencyTable({1: 0.01, 4: 0.02})})
        self.queue.add_device("d", 1)
        for _ in range(20):
            ticket = self.admit("canceller")
            self.now += 0.04
            self.queue.cancel(ticket)

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


def test_on_a_busy_device_nothing_is_done_for_a_canceller_until_it_outlived_its_usual_time() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller")
    harness.admit("stayer")
    assert harness.decodes() == "stayer"
    assert harness.decodes() is None
    harness.now += 0.041
    assert harness.decodes() == "canceller"


def test_a_call_that_failed_is_not_held_against_its_caller() -> None:
    harness = Harness()
    for _ in range(20):
        ticket = harness.admit("unlucky")
        harness.now += 0.04
        harness.queue.cancel(ticket, by_caller=False)
    harness.occupy()
    harness.admit("unlucky")
    assert harness.decodes() == "unlucky"


def test_on_an_idle_device_it_is_served_like_anybody() -> None:
    harness = Harness()
    harness.admit("canceller")
    assert harness.decodes() == "canceller"


def test_it_is_not_held_past_its_deadline() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller", deadline=harness.now + 0.05)
    assert harness.decodes() == "canceller"


def test_a_call_cancelled_while_held_leaves_nothing_behind() -> None:
    harness = Harness()
    harness.occupy()
    ticket = harness.admit("canceller")
    assert harness.queue.depth("m") == 1
    assert harness.queue.cancel(ticket) is Stage.ADMITTED
    assert harness.queue.depth("m") == 0
    harness.now += 1.0
    assert harness.decodes() is None


def test_a_closed_queue_holds_nothing_back() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller")
    harness.queue.close()
    assert harness.decodes() == "canceller"


def test_who_is_held_when_the_last_device_is_lost_is_told_so_too() -> None:
    harness = Harness()
    harness.occupy()
    ticket = harness.admit("canceller")
    assert harness.queue.remove_device("d") == [ticket]
    assert harness.queue.depth("m") == 0
