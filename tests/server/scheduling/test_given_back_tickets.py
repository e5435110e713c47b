"""Tickets that a decoder took and gives back are decoded by another one, and none of them is lost."""

from blocked_thread import BlockedThread, queue_and_clock
from builders import decode_all, new_queue, payloads

from linnaeus.server.scheduling import BatchQueue, DecodeTurn, DecodeWork, Stage, Ticket

SMALL = DecodeWork("pixels", 100)


def turn_of(queue: BatchQueue[str]) -> DecodeTurn[str]:
    """Returns the next turn of small tickets; the first ticket makes the queue learn that they are small."""
    turn = queue.next_to_decode_nowait()
    assert turn is not None
    return turn


def queue_of_small_tickets(names: str) -> tuple[BatchQueue[str], list[Ticket[str]]]:
    queue, _ = new_queue("a", size=8)
    teach_that_decoding_is_quick(queue)
    return queue, [queue.admit("a", name, work=SMALL) for name in names]


def teach_that_decoding_is_quick(queue: BatchQueue[str]) -> None:
    first = queue.admit("a", "first", work=SMALL)
    assert turn_of(queue).tickets == [first]
    queue.put({first: 1e-5})
    batch = queue.take_nowait("d")
    queue.take_nowait("d", batch)


def test_given_back_tickets_are_handed_out_again_in_their_order() -> None:
    queue, tickets = queue_of_small_tickets("1234")
    turn = turn_of(queue)
    assert turn.tickets == tickets
    assert queue.give_back(turn.tickets[1:]) == []
    assert [ticket.stage for ticket in tickets] == [Stage.DECODING] + [Stage.ADMITTED] * 3
    assert turn_of(queue).tickets == tickets[1:]
    queue.put(dict.fromkeys(tickets, 0.0))
    assert payloads(queue.take_nowait("d")) == ["1", "2", "3", "4"] and queue.depth("a") == 0


def test_a_ticket_cancelled_before_it_is_given_back_stays_ended() -> None:
    queue, tickets = queue_of_small_tickets("12")
    turn = turn_of(queue)
    assert queue.cancel(tickets[1]) is Stage.DECODING
    assert queue.give_back(turn.tickets[1:]) == [] and tickets[1].stage is Stage.ENDED
    assert queue.next_to_decode_nowait() is None and queue.depth("a") == 1


def test_a_given_back_ticket_can_be_cancelled_while_it_waits() -> None:
    queue, tickets = queue_of_small_tickets("12")
    queue.give_back(turn_of(queue).tickets[1:])
    assert queue.cancel(tickets[1]) is Stage.ADMITTED and queue.depth("a") == 1


def test_given_back_tickets_without_a_device_are_returned() -> None:
    queue, tickets = queue_of_small_tickets("12")
    turn = turn_of(queue)
    assert queue.remove_device("d") == [], "a decoder has them"
    assert queue.give_back(turn.tickets[1:]) == tickets[1:]
    assert queue.cancel(tickets[1], by_caller=False) is Stage.DECODING and queue.depth("a") == 1


def test_given_back_tickets_of_a_closed_queue_are_still_decoded() -> None:
    queue, tickets = queue_of_small_tickets("12")
    turn = turn_of(queue)
    queue.close()
    queue.put({turn.tickets[0]: 0.0})
    queue.give_back(turn.tickets[1:])
    decode_all(queue)
    assert payloads(queue.take_nowait("d")) == ["1", "2"]


def test_giving_back_wakes_a_waiting_decoder() -> None:
    queue, clock = queue_and_clock(lanes="a")
    teach_that_decoding_is_quick(queue)
    tickets = [queue.admit("a", name, work=SMALL) for name in "12"]
    turn = turn_of(queue)
    other = BlockedThread(clock, queue.next_to_decode)
    queue.give_back(turn.tickets[1:])
    assert other.result().tickets == tickets[1:]
