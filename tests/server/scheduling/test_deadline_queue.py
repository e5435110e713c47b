"""The order in which tickets wait."""

from builders import new_lane, new_ticket
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling.deadline_queue import DeadlineQueue
from linnaeus.server.scheduling.tickets import Ticket


def waiting(*dues: float) -> tuple[DeadlineQueue[str], list[Ticket[str]]]:
    lane = new_lane()
    tickets = [new_ticket(lane, due=due) for due in dues]
    line: DeadlineQueue[str] = DeadlineQueue()
    for ticket in tickets:
        line.add(ticket)
    return line, tickets


def test_the_first_due_is_the_head() -> None:
    line, tickets = waiting(3.0, 1.0, 2.0)
    assert line.head is tickets[1]
    assert [ticket.due for ticket in line] == [1.0, 2.0, 3.0]


def test_of_those_due_together_the_first_admitted_goes_first_in_whatever_order_they_come() -> None:
    lane = new_lane()
    first, second = new_ticket(lane, due=1.0), new_ticket(lane, due=1.0)
    line: DeadlineQueue[str] = DeadlineQueue()
    line.add(second)
    line.add(first)
    assert list(line) == [first, second]


def test_a_candidate_comes_after_those_that_are_due_before_it_or_with_it() -> None:
    line, _ = waiting(1.0, 2.0, 2.0, 3.0)
    assert [line.ahead_of(due) for due in (0.5, 1.0, 2.0, 2.5, 3.0)] == [0, 1, 3, 3, 4]


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30))
def test_whichever_is_removed_the_others_stay_in_order(history: list[tuple[int, bool]]) -> None:
    line, tickets = waiting(*(float(due) for due, _ in history))
    for ticket, (_, leaves) in zip(tickets, history, strict=True):
        if leaves:
            line.remove(ticket)
    stayed = [ticket for ticket, (_, leaves) in zip(tickets, history, strict=True) if not leaves]
    assert list(line) == sorted(stayed, key=lambda ticket: (ticket.due, ticket.order))
    assert len(line) == len(stayed)
