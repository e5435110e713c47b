"""The order of tickets in a deadline queue."""

from builders import new_lane, new_ticket
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling.deadline_queue import DeadlineQueue
from linnaeus.server.scheduling.tickets import Ticket


def waiting(*dues: float) -> tuple[DeadlineQueue[str], list[Ticket[str]]]:
    lane = new_lane()
    tickets = [new_ticket(lane, due=due) for due in dues]
    queue: DeadlineQueue[str] = DeadlineQueue()
    for ticket in tickets:
        queue.add(ticket)
    return queue, tickets


def test_the_head_is_the_ticket_that_is_due_first() -> None:
    queue, tickets = waiting(3.0, 1.0, 2.0)
    assert queue.head is tickets[1]
    assert [ticket.due for ticket in queue] == [1.0, 2.0, 3.0]


def test_tickets_due_at_the_same_time_are_ordered_by_admission() -> None:
    lane = new_lane()
    first, second = new_ticket(lane, due=1.0), new_ticket(lane, due=1.0)
    queue: DeadlineQueue[str] = DeadlineQueue()
    queue.add(second)
    queue.add(first)
    assert list(queue) == [first, second]


def test_count_before_counts_tickets_due_earlier_or_at_the_same_time() -> None:
    queue, _ = waiting(1.0, 2.0, 2.0, 3.0)
    assert [queue.count_before(due) for due in (0.5, 1.0, 2.0, 2.5, 3.0)] == [0, 1, 3, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_removals_leave_the_other_tickets_in_order(history: list[tuple[int, bool]]) -> None:
    queue, tickets = waiting(*(float(due) for due, _ in history))
    for ticket, (_, is_removed) in zip(tickets, history, strict=True):
        if is_removed:
            queue.remove(ticket)
    stayed = [ticket for ticket, (_, is_removed) in zip(tickets, history, strict=True) if not is_removed]
    assert list(queue) == sorted(stayed, key=lambda ticket: (ticket.due, ticket.order))
    assert len(queue) == len(stayed)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), max_size=12), st.integers(-1, 4))
def test_decode_seconds_before_adds_up_the_tickets_due_earlier_or_at_the_same_time(
    tickets: list[tuple[int, int]], due: int
) -> None:
    lane = new_lane()
    queue: DeadlineQueue[str] = DeadlineQueue()
    for each, seconds in tickets:
        queue.add(new_ticket(lane, due=float(each), decode_seconds=float(seconds)))
    assert queue.decode_seconds_before(float(due)) == sum(seconds for each, seconds in tickets if each <= due)
