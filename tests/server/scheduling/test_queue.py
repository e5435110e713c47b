"""What the queue guarantees its callers: places, cancellation, measurements, lost devices, and closing."""

import pytest
from blocked_thread import BlockedThread, queue_and_clock
from builders import decode_next, new_queue, payloads, put

from linnaeus.server.scheduling import Batch, BatchQueue, NoDevice, QueueClosed, QueueFull, Stage


def test_an_unknown_lane_is_closed_and_empty() -> None:
    queue, _ = new_queue()
    with pytest.raises(QueueClosed):
        queue.admit("nowhere", "1")
    assert queue.depth("nowhere") == 0


def test_taking_and_cancelling_tickets_makes_room_in_the_lane() -> None:
    queue, _ = new_queue(max_queue_size=2)
    first, second = put(queue, "1"), queue.admit("a", "2")
    with pytest.raises(QueueFull):
        queue.admit("a", "3")
    assert queue.cancel(first) is Stage.QUEUED
    assert queue.cancel(second) is Stage.ADMITTED
    put(queue, "3"), put(queue, "4")
    assert payloads(queue.take("d")) == ["3", "4"]
    put(queue, "5")
    assert queue.depth("a") == 1


def test_a_cancelled_ticket_is_never_handed_out() -> None:
    queue, _ = new_queue()
    tickets = [put(queue, name) for name in "123"]
    queue.cancel(tickets[0])
    queue.cancel(tickets[2])
    assert payloads(queue.take("d")) == ["2"]


def test_a_ticket_cancelled_while_it_is_decoded_is_not_queued() -> None:
    queue, _ = new_queue()
    ticket = queue.admit("a", "1")
    assert decode_next(queue) is ticket
    assert queue.cancel(ticket) is Stage.DECODING
    queue.put({ticket: 0.0})
    assert queue.take_nowait("d") is None
    assert queue.depth("a") == 0


def test_cancelling_twice_counts_once() -> None:
    queue, _ = new_queue()
    ticket, _ = put(queue, "1"), put(queue, "2")
    queue.cancel(ticket)
    assert queue.cancel(ticket) is Stage.ENDED
    assert queue.depth("a") == 1


def test_cancelling_a_running_ticket_returns_taken() -> None:
    queue, _ = new_queue()
    ticket = put(queue, "1")
    batch = queue.take("d")
    assert queue.cancel(ticket) is Stage.TAKEN
    queue.mark_answered([ticket])
    assert ticket.stage is Stage.ENDED
    assert queue.take_nowait("d", batch) is None


def test_batch_seconds_are_listed_by_device_and_size() -> None:
    queue, _ = new_queue(devices={"d": 1, "e": 1}, seconds={1: 0.1, 4: 0.4})
    assert queue.batch_seconds("a") == {"d": {1: 0.1, 4: 0.4}, "e": {1: 0.1, 4: 0.4}}


def test_a_failed_batch_does_not_change_the_latency_table() -> None:
    queue, clock = new_queue(seconds={1: 0.1})
    put(queue, "1")
    batch = queue.take("d")
    clock.now += 60.0
    queue.take_nowait("d", batch, learn=False)
    assert queue.batch_seconds("a") == {"d": {1: 0.1}}
    put(queue, "2")
    batch = queue.take("d")
    clock.now += 0.15
    queue.take_nowait("d", batch)
    assert queue.batch_seconds("a")["d"][1] == pytest.approx(0.15)


def test_after_drain_no_batch_waits_for_more_and_tickets_are_still_admitted() -> None:
    queue, _ = new_queue(max_queue_delay_seconds=0.5)
    put(queue, "before")
    assert queue.take_nowait("d") is None
    queue.drain()
    first = queue.take("d")
    assert payloads(first) == ["before"]
    put(queue, "after")
    assert payloads(queue.take("d", first)) == ["after"]


def test_after_close_nothing_is_admitted_and_all_tickets_are_handed_out_without_delay() -> None:
    queue, _ = new_queue(max_queue_delay_seconds=0.5)
    put(queue, "queued")
    decoding = queue.admit("a", "decoding")
    assert decode_next(queue) is decoding
    waiting = queue.admit("a", "waiting")
    queue.close()
    with pytest.raises(QueueClosed):
        queue.admit("a", "too late")
    first = queue.take("d")
    assert payloads(first) == ["queued"]
    queue.put({decoding: 0.0})
    second = queue.take("d", first)
    assert payloads(second) == ["decoding"]
    turn = queue.next_to_decode()
    assert turn is not None and turn.tickets == [waiting]
    queue.put({waiting: 0.0})
    third = queue.take("d", second)
    assert payloads(third) == ["waiting"]
    assert queue.take("d", third) is None
    assert queue.next_to_decode() is None


@pytest.mark.parametrize("ending", ["run", "cancelled", "refused by the decoder"])
def test_when_the_last_ticket_of_a_closed_queue_ends_all_its_threads_return(ending: str) -> None:
    queue, clock = queue_and_clock({"d": 2, "e": 1})
    ticket = queue.admit("a", "last")
    if ending != "cancelled":
        assert decode_next(queue) is ticket
    workers = [BlockedThread(clock, lambda device=device: drain(queue, device)) for device in "dde"]
    decoders = [] if ending == "cancelled" else [BlockedThread(clock, queue.next_to_decode) for _ in range(2)]
    clock.forget()
    queue.close()
    for _ in range(2 * len(workers) + len(decoders)):  # all have looked for work once, and the workers wait again
        clock.wait()
    if ending == "run":
        queue.put({ticket: 0.0})
    else:
        queue.cancel(ticket)
    ran = [payload for worker in workers for payload in worker.result()]
    assert ran == (["last"] if ending == "run" else [])
    assert [decoder.result() for decoder in decoders] == [None] * len(decoders)


def drain(queue: BatchQueue[str], device: str) -> list[str]:
    """Serves batches as a worker does; returns the payloads that ran."""
    ran: list[str] = []
    batch: Batch[str] | None = None
    while (batch := queue.take(device, batch)) is not None:
        ran += payloads(batch)
        queue.mark_answered(batch.tickets)
    return ran


def test_tickets_requeued_while_the_queue_drains_run_on_another_device() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    put(queue, "1")
    batch = queue.take("d")
    assert batch is not None
    queue.close()
    other = BlockedThread(clock, lambda: drain(queue, "e"))
    assert queue.remove_device("d", batch) == []
    assert other.result() == ["1"]


@pytest.mark.parametrize("ending", ["given back", "run"])
def test_a_closed_queue_waits_for_batches_of_a_removed_device(ending: str) -> None:
    queue, clock = queue_and_clock({"d": 2, "e": 1}, size=1)
    put(queue, "1"), put(queue, "2")
    first, second = queue.take("d"), queue.take("d")
    queue.close()
    assert queue.remove_device("d", first) == []
    batch = queue.take("e")
    assert payloads(batch) == ["1"]
    other = BlockedThread(clock, lambda: queue.take("e", batch))
    if ending == "given back":
        assert queue.remove_device("d", second) == []
        assert payloads(other.result()) == ["2"]
    else:
        assert queue.take("d", second) is None
        assert other.result() is None


def test_each_worker_of_a_device_may_remove_it_and_requeue_its_batch() -> None:
    queue, _ = new_queue(devices={"d": 2, "e": 1}, size=1)
    put(queue, "1"), put(queue, "2")
    first, second = queue.take("d"), queue.take("d")
    assert queue.remove_device("d", first) == queue.remove_device("d", second) == []
    batch = queue.take("e")
    assert payloads(batch) == ["1"]
    assert payloads(queue.take("e", batch)) == ["2"]
    assert queue.depth("a") == 0


def test_when_the_last_device_is_removed_new_and_decoded_tickets_are_refused() -> None:
    queue, _ = new_queue(devices={"d": 1})
    waiting, decoding = queue.admit("a", "1"), queue.admit("b", "2")
    assert decode_next(queue) is waiting
    assert queue.remove_device("d") == [decoding]
    assert queue.put({waiting: 0.0}) == [waiting]
    with pytest.raises(NoDevice):
        queue.admit("a", "3")
    queue.cancel(waiting)
    queue.put({waiting: 0.0})  # its caller has cancelled: no error is raised
    queue.close()
    assert queue.next_to_decode() is None and queue.take("d") is None
