"""Who makes room in a queue that is full."""

import pytest
from builders import new_lane
from state_harness import Harness

from linnaeus.server.scheduling import Priority, QueueFull, Stage

HIGH, NORMAL, LOW = Priority


def full_harness(*callers: str, priority: Priority = LOW) -> Harness:
    harness = Harness(new_lane(max_queue_size=len(callers)))
    for number, caller in enumerate(callers):
        harness.admit(f"{caller}{number}", caller=caller, priority=priority)
    return harness


def waiting(harness: Harness) -> list[str]:
    return [ticket.payload for flow in harness.lanes[0].flows for ticket in flow.decoded]


def test_a_higher_priority_displaces_the_newest_of_the_lowest_priority() -> None:
    harness = full_harness("a", "a", "b")
    harness.admit("normal", priority=NORMAL, caller="c")
    assert waiting(harness) == ["normal", "a0", "a1"]
    harness.admit("high", priority=HIGH, caller="d")
    assert waiting(harness) == ["high", "normal", "a0"]
    harness.admit("higher", priority=HIGH, caller="e")
    harness.admit("highest", priority=HIGH, caller="f")
    assert waiting(harness) == ["high", "higher", "highest"]


def test_max_queue_size_counts_the_tickets_of_all_priorities() -> None:
    harness = Harness(new_lane(max_queue_size=3))
    for priority in (LOW, NORMAL, HIGH) * 3:
        try:
            harness.admit(priority=priority)
        except QueueFull as refusal:
            assert refusal.held == 3
        assert harness.lanes[0].depth <= 3


def test_an_equal_priority_is_refused_if_its_caller_has_as_many_waiting_as_others() -> None:
    harness = full_harness("a", "b", "c")
    for caller in ("a", "b", "c", "d"):
        with pytest.raises(QueueFull):
            harness.admit(caller=caller, priority=LOW)


def test_a_caller_with_few_waiting_displaces_the_newest_of_the_caller_with_most() -> None:
    harness = full_harness("flood", "flood", "flood", "modest")
    harness.admit("new", caller="newcomer", priority=LOW)
    assert waiting(harness) == ["flood0", "flood1", "modest3", "new"]
    with pytest.raises(QueueFull):
        harness.admit(caller="flood", priority=LOW)


def test_a_ticket_that_a_device_has_taken_is_not_displaced() -> None:
    harness = full_harness("a", "a")
    batch = harness.form()
    assert batch is not None and len(batch.tickets) == 2
    for _ in range(2):
        harness.admit(priority=LOW)
    harness.admit("high", priority=HIGH, caller="d")
    assert all(ticket.stage is Stage.TAKEN for ticket in batch.tickets)


def test_a_request_that_would_be_late_displaces_nobody() -> None:
    harness = full_harness("a", "a", "a")
    with pytest.raises(Exception, match="0.05"):
        harness.admit(priority=HIGH, deadline=0.05)
    assert waiting(harness) == ["a0", "a1", "a2"]
