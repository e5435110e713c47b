"""A caller that usually cancels is held back on a busy device; no other caller ever is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable, Priority, Stage, Ticket
from linnaeus.server.scheduling.cancelling_callers import CancellingCallers


def recorded(*cancelled_after: float | None) -> CancellingCallers:
    history = CancellingCallers()
    for seconds in cancelled_after:
        history.record("caller", seconds)
    return history


def test_a_caller_that_always_cancels_is_held_for_nearly_all_its_times_to_cancellation() -> None:
    history = recorded(*(place / 1000 for place in range(1, 31)))
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
def test_a_caller_that_does_not_usually_cancel_is_not_held(calls: list[float | None]) -> None:
    assert recorded(*calls).hold_seconds("caller") == 0.0


def test_cancellations_of_one_caller_do_not_hold_another() -> None:
    assert recorded(*[0.01] * 20).hold_seconds("another") == 0.0


@given(st.lists(st.none() | st.floats(0, 1e6), max_size=50))
def test_no_caller_is_held_longer_than_200_milliseconds(calls: list[float | None]) -> None:
    assert 0.0 <= recorded(*calls).hold_seconds("caller") <= 0.2


def test_only_the_most_recent_callers_are_remembered() -> None:
    history = CancellingCallers()
    for number in range(3000):
        for _ in range(8):
            history.record(f"caller {number}", 0.01)
    assert history.hold_seconds("caller 2999") > 0.0
    assert history.hold_seconds("caller 0") == 0.0


class Harness:
    """A queue with one device of one worker, and a caller that cancelled twenty calls after 40 ms each."""

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
        return self.queue.admit("m", caller, deadline, Priority.NORMAL, caller=caller)

    def decodes(self) -> str | None:
        turn = self.queue.next_to_decode_nowait()
        return None if turn is None or not turn.tickets else turn.tickets[0].payload

    def occupy(self) -> None:
        ticket = self.admit("patient")
        assert self.decodes() == "patient"
        self.queue.put({ticket: 0.0})
        assert self.queue.take_nowait("d") is not None


def test_on_a_busy_device_a_canceller_is_not_decoded_until_its_usual_time_has_passed() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller")
    harness.admit("patient")
    assert harness.decodes() == "patient"
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


def test_on_an_idle_device_a_canceller_is_not_held() -> None:
    harness = Harness()
    harness.admit("canceller")
    assert harness.decodes() == "canceller"


def test_a_ticket_is_not_held_if_that_would_miss_its_deadline() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller", deadline=harness.now + 0.05)
    assert harness.decodes() == "canceller"


def test_cancelling_a_held_ticket_removes_it() -> None:
    harness = Harness()
    harness.occupy()
    ticket = harness.admit("canceller")
    assert harness.queue.depth("m") == 1
    assert harness.queue.cancel(ticket) is Stage.ADMITTED
    assert harness.queue.depth("m") == 0
    harness.now += 1.0
    assert harness.decodes() is None


def test_a_closed_queue_releases_held_tickets() -> None:
    harness = Harness()
    harness.occupy()
    harness.admit("canceller")
    harness.queue.close()
    assert harness.decodes() == "canceller"


def test_removing_the_last_device_returns_held_tickets_too() -> None:
    harness = Harness()
    harness.occupy()
    ticket = harness.admit("canceller")
    assert harness.queue.remove_device("d") == [ticket]
    assert harness.queue.depth("m") == 0
