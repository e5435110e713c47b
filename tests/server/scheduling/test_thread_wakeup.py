"""Waiting workers and decoders are woken when there is work for them, and no thread is forgotten."""

from itertools import count

import pytest
from blocked_thread import BlockedThread, queue_and_clock
from builders import decode_next, new_queue, payloads, put

from linnaeus.server.scheduling import BatchQueue, DecodeWork, LaneLimits, LatencyTable


def test_putting_a_ticket_wakes_a_waiting_worker() -> None:
    queue, clock = queue_and_clock()
    worker = BlockedThread(clock, lambda: queue.take("d"))
    put(queue, "1")
    assert payloads(worker.result()) == ["1"]


def test_a_worker_that_takes_a_batch_wakes_another_if_there_is_more() -> None:
    queue, clock = queue_and_clock({"d": 2})
    workers = [BlockedThread(clock, lambda: queue.take("d")) for _ in range(2)]
    put(queue, "1", "a"), put(queue, "2", "b")  # usually the first worker has not looked yet when both are there
    assert sorted(payloads(worker.result())[0] for worker in workers) == ["1", "2"]


def test_the_worker_that_waited_last_is_woken_first() -> None:
    queue, clock = queue_and_clock({"d": 2}, lanes="a")
    _, last = (BlockedThread(clock, lambda: queue.take("d")) for _ in range(2))
    put(queue, "1")
    assert payloads(last.result()) == ["1"]


def test_the_decoder_that_waited_last_is_woken_first() -> None:
    queue, clock = queue_and_clock()
    _, last = (BlockedThread(clock, queue.next_to_decode) for _ in range(2))
    ticket = queue.admit("a", "1")
    queue.notify()
    assert last.result().tickets == [ticket]


def test_only_workers_of_devices_that_may_run_the_model_are_woken() -> None:
    queue, clock = queue_and_clock({"d": 1}, lanes="a")
    queue.open_lane("x", LaneLimits(4, 100), {"e": LatencyTable({1: 1e-6})})
    queue.add_device("e", 1)
    worker, other = BlockedThread(clock, lambda: queue.take("d")), BlockedThread(clock, lambda: queue.take("e"))
    put(queue, "x1", "x")
    assert payloads(other.result()) == ["x1"]
    put(queue, "a1", "a")
    assert payloads(worker.result()) == ["a1"]


def test_a_worker_that_takes_a_batch_leaves_the_rest_to_a_waiting_worker() -> None:
    queue, clock = queue_and_clock(size=1)
    queue.open_lane("one", LaneLimits(1, 100, instances=1), {"d": LatencyTable({1: 1e-6})})
    put(queue, "1", "one")
    batch = queue.take("d")
    put(queue, "2", "one")
    worker = BlockedThread(clock, lambda: queue.take("d"))
    assert queue.take_nowait("d", batch) is not None
    put(queue, "a1")
    assert payloads(worker.result()) == ["a1"]


def test_notify_wakes_a_waiting_decoder() -> None:
    queue, clock = queue_and_clock()
    decoder = BlockedThread(clock, queue.next_to_decode)
    ticket = queue.admit("a", "1")
    queue.notify()
    assert decoder.result().tickets == [ticket]


def work_of(seconds: float) -> DecodeWork:
    """Returns work that is assumed to take about this long."""
    return next(work for pixels in count(step=100) if (work := DecodeWork("", pixels)).assumed_seconds >= seconds)


def record_decoding(queue: BatchQueue[str], seconds: float) -> None:
    """Records that decoding such an image takes about as long as is assumed."""
    ticket = queue.admit("a", "before", work=work_of(seconds))
    assert decode_next(queue) is ticket
    queue.put({ticket: seconds})
    assert payloads(queue.take("d")) == ["before"]


def test_small_images_are_decoded_several_per_turn_and_large_ones_one_by_one() -> None:
    for seconds, together in ((1e-4, ["1", "2", "3", "4"]), (2e-4, ["1", "2"]), (3e-4, ["1"]), (0.1, ["1"])):
        queue, _ = new_queue()
        record_decoding(queue, seconds)
        for name in "1234":
            queue.admit("a", name, work=work_of(seconds))
        turn = queue.next_to_decode_nowait()
        assert turn is not None and [ticket.payload for ticket in turn.tickets] == together


def test_a_small_image_is_left_to_a_busy_decoder_until_notify_is_repeated() -> None:
    queue, clock = queue_and_clock()
    record_decoding(queue, 1e-4)
    queue.admit("a", "at work", work=work_of(1e-4))
    assert queue.next_to_decode() is not None  # this thread acts as a decoder that is busy
    other = BlockedThread(clock, queue.next_to_decode)
    queue.admit("a", "small", work=work_of(1e-4))
    assert queue.notify()
    clock.now += 1.0  # the busy decoder is delayed
    assert not queue.notify()
    assert payloads(other.result()) == ["small"]


def test_take_leaves_no_small_image_to_a_busy_decoder() -> None:
    queue, clock = queue_and_clock({"d": 1})
    put(queue, "decoded")
    for name in ("at work", "small"):
        queue.admit("a", name, work=work_of(4e-4))
    turn = queue.next_to_decode()  # this thread acts as a decoder that is delayed; enough is decoded ahead for now
    assert turn is not None and [ticket.payload for ticket in turn.tickets] == ["at work"]
    other = BlockedThread(clock, queue.next_to_decode)
    assert payloads(queue.take("d")) == ["decoded"]  # now more is to be decoded
    assert payloads(other.result()) == ["small"]


def test_a_large_image_wakes_another_decoder_at_once() -> None:
    queue, clock = queue_and_clock()
    queue.admit("a", "at work", work=work_of(1e-4))
    assert queue.next_to_decode() is not None
    other = BlockedThread(clock, queue.next_to_decode)
    queue.admit("a", "large", work=work_of(0.1))
    assert not queue.notify()
    assert payloads(other.result()) == ["large"]


def test_admitted_pixels_wake_a_waiting_worker() -> None:
    queue, clock = queue_and_clock({"d": 1})
    worker = BlockedThread(clock, lambda: queue.take("d"))
    queue.admit("a", "pixels", work=None)
    queue.notify()
    assert payloads(worker.result()) == ["pixels"]


def test_held_pixels_go_to_the_device_when_they_are_released() -> None:
    queue, clock = new_queue(devices={"d": 1})
    for _ in range(16):
        cancelled = queue.admit("a", "gone", caller="canceller")
        clock.now += 0.1
        queue.cancel(cancelled)
    put(queue, "busy")
    first = queue.take_nowait("d")
    held = queue.admit("a", "held", caller="canceller", work=None)
    assert held.held_until > clock.now and queue.take_nowait("d", first) is None
    clock.now = held.held_until
    assert queue.next_to_decode_nowait() is None, "pixels need no decoder"
    assert payloads(queue.take_nowait("d")) == ["held"]


@pytest.mark.parametrize("freeing", ["take", "cancel"])
def test_a_decoder_far_enough_ahead_is_woken_when_a_decoded_ticket_is_taken_or_cancelled(freeing: str) -> None:
    queue, clock = queue_and_clock({"d": 1}, size=1)
    first, _ = put(queue, "1"), put(queue, "2")
    third = queue.admit("a", "3")
    decoder = BlockedThread(clock, queue.next_to_decode)
    if freeing == "take":
        assert payloads(queue.take("d")) == ["1"]
    else:
        queue.cancel(first)
    assert decoder.result().tickets == [third]


def test_take_returns_none_when_the_device_is_removed() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    worker = BlockedThread(clock, lambda: queue.take("d"))
    queue.remove_device("d")
    assert worker.result() is None
    assert queue.take_nowait("d") is None
    put(queue, "1")
    assert payloads(queue.take("e")) == ["1"]


def test_requeued_tickets_wake_a_worker_of_another_device() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    put(queue, "1")
    batch = queue.take("d")
    assert batch is not None
    other = BlockedThread(clock, lambda: queue.take("e"))
    queue.remove_device("d", batch)
    assert payloads(other.result()) == ["1"]
