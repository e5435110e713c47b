"""What the queue promises to the threads around it: nobody is forgotten asleep, and closing ends everybody."""

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from builders import decode_next, new_queue, payloads, put

from linnaeus.server.scheduling import (
    Batch,
    BatchQueue,
    LaneLimits,
    LatencyTable,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
)

# Far more than any of this takes; a thread that was forgotten would sleep for ever.
PATIENCE_SECONDS = 60


class CountingClock:
    """A clock that counts its readings: whoever waits in the queue has read it first, under the queue's lock."""

    def __init__(self) -> None:
        self.now = 1.0
        self._seen = threading.Semaphore(0)

    def __call__(self) -> float:
        self._seen.release()
        return self.now

    def wait(self) -> None:
        """Returns when the clock has been read once more."""
        assert self._seen.acquire(timeout=PATIENCE_SECONDS)

    def forget(self) -> None:
        while self._seen.acquire(blocking=False):
            pass


class BlockedThread:
    """A thread in one blocking call of the queue, known to have begun it."""

    def __init__(self, clock: CountingClock, call: Callable[[], Any]) -> None:
        self._returned: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._returned.append(call()), daemon=True)
        clock.forget()
        self._thread.start()
        clock.wait()  # it holds the lock now, and gives it back only by sleeping or by returning

    def result(self) -> Any:
        self._thread.join(timeout=PATIENCE_SECONDS)
        assert self._returned, "the thread was never woken"
        return self._returned[0]


def queue_and_clock(
    devices: dict[str, int] | None = None, size: int = 4, lanes: str = "ab"
) -> tuple[BatchQueue[str], CountingClock]:
    clock = CountingClock()
    queue: BatchQueue[str] = BatchQueue(clock)
    devices = devices or {"d": 2}
    for lane in lanes:
        queue.open_lane(lane, LaneLimits(size, 100), {device: LatencyTable({1: 1e-6}) for device in devices})
    for name, workers in devices.items():
        queue.add_device(name, workers)
    return queue, clock


# Admission and closing.


def test_an_unknown_lane_is_closed_and_empty() -> None:
    queue, _ = new_queue()
    with pytest.raises(QueueClosed):
        queue.admit("nowhere", "1")
    assert queue.depth("nowhere") == 0


def test_taking_and_cancelling_both_give_places_back() -> None:
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


def test_an_cancelled_ticket_is_never_handed_out() -> None:
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


def test_what_is_cancelled_while_it_runs_says_so_and_its_answer_counts_for_nothing() -> None:
    queue, _ = new_queue()
    ticket = put(queue, "1")
    batch = queue.take("d")
    assert queue.cancel(ticket) is Stage.TAKEN
    queue.mark_answered([ticket])
    assert ticket.stage is Stage.ENDED
    assert queue.take_nowait("d", batch) is None


def test_an_open_lane_tells_how_long_its_batches_take_on_every_device() -> None:
    queue, _ = new_queue(devices={"d": 1, "e": 1}, seconds={1: 0.1, 4: 0.4})
    assert queue.batch_seconds("a") == {"d": {1: 0.1, 4: 0.4}, "e": {1: 0.1, 4: 0.4}}


def test_a_batch_that_failed_teaches_nothing() -> None:
    queue, clock = new_queue(seconds={1: 0.1})
    put(queue, "1")
    batch = queue.take("d")
    clock.now += 60.0
    queue.take_nowait("d", batch, learn=False)
    assert queue.batch_seconds("a") == {"d": {1: 0.1}}
    put(queue, "2")
    batch = queue.take("d")
    clock.now += 1.0
    queue.take_nowait("d", batch)
    assert queue.batch_seconds("a") == {"d": {1: 1.0}}


# Closing.


def test_close_admits_nothing_more_and_hands_out_all_that_is_held_without_delay() -> None:
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
def test_when_the_last_ticket_of_a_closed_queue_ends_all_workers_and_decoders_do(ending: str) -> None:
    queue, clock = queue_and_clock({"d": 2, "e": 1})
    ticket = queue.admit("a", "last")
    if ending != "cancelled":
        assert decode_next(queue) is ticket
    workers = [BlockedThread(clock, lambda device=device: drain(queue, device)) for device in "dde"]
    decoders = [] if ending == "cancelled" else [BlockedThread(clock, queue.next_to_decode) for _ in range(2)]
    clock.forget()
    queue.close()
    for _ in range(2 * len(workers) + len(decoders)):  # all have looked about, and workers sleep again
        clock.wait()
    if ending == "run":
        queue.put({ticket: 0.0})
    else:
        queue.cancel(ticket)
    ran = [payload for worker in workers for payload in worker.result()]
    assert ran == (["last"] if ending == "run" else [])
    assert [decoder.result() for decoder in decoders] == [None] * len(decoders)


def drain(queue: BatchQueue[str], device: str) -> list[str]:
    """Serves as a worker does; returns what it ran."""
    ran: list[str] = []
    batch: Batch[str] | None = None
    while (batch := queue.take(device, batch)) is not None:
        ran += payloads(batch)
        queue.mark_answered(batch.tickets)
    return ran


def test_what_a_failing_device_gives_back_while_the_queue_drains_still_runs_on_another() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    put(queue, "1")
    batch = queue.take("d")
    assert batch is not None
    queue.close()
    other = BlockedThread(clock, lambda: drain(queue, "e"))
    assert queue.remove_device("d", batch) == []
    assert other.result() == ["1"]


@pytest.mark.parametrize("ending", ["given back", "run"])
def test_a_closed_queue_waits_for_what_the_other_worker_of_a_failing_device_still_holds(ending: str) -> None:
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


def test_each_worker_of_a_failing_device_may_take_it_out_and_gives_back_what_it_held() -> None:
    queue, _ = new_queue(devices={"d": 2, "e": 1}, size=1)
    put(queue, "1"), put(queue, "2")
    first, second = queue.take("d"), queue.take("d")
    assert queue.remove_device("d", first) == queue.remove_device("d", second) == []
    batch = queue.take("e")
    assert payloads(batch) == ["1"]
    assert payloads(queue.take("e", batch)) == ["2"]
    assert queue.depth("a") == 0


# Wake-ups.


def test_a_worker_asleep_is_woken_by_what_is_put() -> None:
    queue, clock = queue_and_clock()
    worker = BlockedThread(clock, lambda: queue.take("d"))
    put(queue, "1")
    assert payloads(worker.result()) == ["1"]


def test_a_worker_that_takes_wakes_another_if_there_is_more() -> None:
    queue, clock = queue_and_clock({"d": 2})
    workers = [BlockedThread(clock, lambda: queue.take("d")) for _ in range(2)]
    put(queue, "1", "a"), put(queue, "2", "b")  # most often, the first worker has not even looked when both are there
    assert sorted(payloads(worker.result())[0] for worker in workers) == ["1", "2"]


def test_of_the_workers_asleep_the_last_to_fall_asleep_is_woken_for_its_caches_are_warm() -> None:
    queue, clock = queue_and_clock({"d": 2}, lanes="a")
    _, last = (BlockedThread(clock, lambda: queue.take("d")) for _ in range(2))
    put(queue, "1")
    assert payloads(last.result()) == ["1"]


def test_of_the_decoders_asleep_the_last_to_fall_asleep_is_woken() -> None:
    queue, clock = queue_and_clock()
    _, last = (BlockedThread(clock, queue.next_to_decode) for _ in range(2))
    ticket = queue.admit("a", "1")
    queue.notify()
    assert last.result().tickets == [ticket]


def test_only_devices_that_run_the_model_are_woken_for_it() -> None:
    queue, clock = queue_and_clock({"d": 1}, lanes="a")
    queue.open_lane("x", LaneLimits(4, 100), {"e": LatencyTable({1: 1e-6})})
    queue.add_device("e", 1)
    worker, other = BlockedThread(clock, lambda: queue.take("d")), BlockedThread(clock, lambda: queue.take("e"))
    put(queue, "x1", "x")
    assert payloads(other.result()) == ["x1"]
    put(queue, "a1", "a")
    assert payloads(worker.result()) == ["a1"]


def test_a_worker_that_finishes_hands_the_rest_to_one_that_sleeps() -> None:
    queue, clock = queue_and_clock(size=1)
    queue.open_lane("one", LaneLimits(1, 100, instances=1), {"d": LatencyTable({1: 1e-6})})
    put(queue, "1", "one")
    batch = queue.take("d")
    put(queue, "2", "one")
    worker = BlockedThread(clock, lambda: queue.take("d"))
    assert queue.take_nowait("d", batch) is not None
    put(queue, "a1")
    assert payloads(worker.result()) == ["a1"]


def test_a_decoder_asleep_is_woken_by_an_admission() -> None:
    queue, clock = queue_and_clock()
    decoder = BlockedThread(clock, queue.next_to_decode)
    ticket = queue.admit("a", "1")
    queue.notify()
    assert decoder.result().tickets == [ticket]


def learnt(queue: BatchQueue[str], seconds: float) -> None:
    """What decoding a picture of one byte takes is known from now on."""
    ticket = queue.admit("a", "before", size=1)
    assert decode_next(queue) is ticket
    queue.put({ticket: seconds})
    assert payloads(queue.take("d")) == ["before"]


def test_small_pictures_are_decoded_in_one_turn_and_large_ones_one_by_one() -> None:
    for seconds, together in ((1e-4, ["1", "2", "3", "4"]), (2e-4, ["1", "2"]), (3e-4, ["1"]), (0.1, ["1"])):
        queue, _ = new_queue()
        learnt(queue, seconds)
        for name in "1234":
            queue.admit("a", name, size=1)
        turn = queue.next_to_decode_nowait()
        assert turn is not None and [ticket.payload for ticket in turn.tickets] == together


def test_a_small_picture_is_left_to_a_decoder_at_work_and_another_is_woken_if_that_one_does_not_come_back() -> None:
    queue, clock = queue_and_clock()
    learnt(queue, 1e-4)
    queue.admit("a", "at work", size=1)
    assert queue.next_to_decode() is not None  # this thread is a decoder, which has something to do now
    other = BlockedThread(clock, queue.next_to_decode)
    queue.admit("a", "small", size=1)
    assert queue.notify()
    clock.now += 1.0  # it is held up
    assert not queue.notify()
    assert payloads(other.result()) == ["small"]


def test_whoever_does_not_ask_again_leaves_nothing_to_a_decoder_at_work() -> None:
    queue, clock = queue_and_clock({"d": 1}, size=1)
    learnt(queue, 1e-4)
    put(queue, "decoded")
    for name in ("at work", "small"):
        queue.admit("a", name, size=1)
    turn = queue.next_to_decode()  # this thread is a decoder, which is held up from now on; more is not wanted yet
    assert turn is not None and [ticket.payload for ticket in turn.tickets] == ["at work"]
    other = BlockedThread(clock, queue.next_to_decode)
    assert payloads(queue.take("d")) == ["decoded"]  # now it is
    assert payloads(other.result()) == ["small"]


def test_a_large_picture_is_left_to_nobody() -> None:
    queue, clock = queue_and_clock()
    learnt(queue, 0.1)
    queue.admit("a", "at work", size=1)
    assert queue.next_to_decode() is not None
    other = BlockedThread(clock, queue.next_to_decode)
    queue.admit("a", "large", size=1)
    assert not queue.notify()
    assert payloads(other.result()) == ["large"]


def test_pixels_that_need_no_decoder_go_to_a_worker_that_sleeps() -> None:
    queue, clock = queue_and_clock({"d": 1})
    worker = BlockedThread(clock, lambda: queue.take("d"))
    queue.admit("a", "pixels", is_decoded=True)
    queue.notify()
    assert payloads(worker.result()) == ["pixels"]


def test_pixels_that_were_held_back_go_to_the_device_once_they_are_not_any_more() -> None:
    queue, clock = new_queue(devices={"d": 1})
    for _ in range(16):
        cancelled = queue.admit("a", "gone", caller="canceller")
        clock.now += 0.1
        queue.cancel(cancelled)
    put(queue, "busy")
    first = queue.take_nowait("d")
    held = queue.admit("a", "held", caller="canceller", is_decoded=True)
    assert held.held_until > clock.now and queue.take_nowait("d", first) is None
    clock.now = held.held_until
    assert queue.next_to_decode_nowait() is None, "no decoder has to see it"
    assert payloads(queue.take_nowait("d")) == ["held"]


@pytest.mark.parametrize("freeing", ["take", "cancel"])
def test_a_decoder_that_is_far_enough_ahead_is_woken_when_a_place_is_free(freeing: str) -> None:
    queue, clock = queue_and_clock({"d": 1}, size=1)
    first, _ = put(queue, "1"), put(queue, "2")
    third = queue.admit("a", "3")
    decoder = BlockedThread(clock, queue.next_to_decode)
    if freeing == "take":
        assert payloads(queue.take("d")) == ["1"]
    else:
        queue.cancel(first)
    assert decoder.result().tickets == [third]


def test_a_worker_of_a_removed_device_ends() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    worker = BlockedThread(clock, lambda: queue.take("d"))
    queue.remove_device("d")
    assert worker.result() is None
    assert queue.take_nowait("d") is None
    put(queue, "1")
    assert payloads(queue.take("e")) == ["1"]


def test_what_is_given_back_wakes_a_worker_of_another_device() -> None:
    queue, clock = queue_and_clock({"d": 1, "e": 1})
    put(queue, "1")
    batch = queue.take("d")
    assert batch is not None
    other = BlockedThread(clock, lambda: queue.take("e"))
    queue.remove_device("d", batch)
    assert payloads(other.result()) == ["1"]


def test_when_the_last_device_is_removed_candidates_and_decoded_tickets_are_refused() -> None:
    queue, _ = new_queue(devices={"d": 1})
    waiting, decoding = queue.admit("a", "1"), queue.admit("b", "2")
    assert decode_next(queue) is waiting
    assert queue.remove_device("d") == [decoding]
    assert queue.put({waiting: 0.0}) == [waiting]
    with pytest.raises(NoDevice):
        queue.admit("a", "3")
    queue.cancel(waiting)
    queue.put({waiting: 0.0})  # its caller has left: no error for anybody
    queue.close()
    assert queue.next_to_decode() is None and queue.take("d") is None


# All at once.


class EndCounter:
    """Counts how often each ticket ended, notes whose callers left first, and waits for the last."""

    def __init__(self, expected: int) -> None:
        self._lock = threading.Lock()
        self._expected = expected
        self.times: Counter[str] = Counter()
        self.left: dict[str, Stage] = {}
        self.all = threading.Event()

    def add(self, tickets: list[Ticket[str]]) -> None:
        with self._lock:
            self.times.update(ticket.payload for ticket in tickets)
            self._look()

    def leave(self, ticket: Ticket[str], stood: Stage) -> None:
        with self._lock:
            if stood is not Stage.ENDED:
                self.left[ticket.payload] = stood
            self._look()

    def _look(self) -> None:
        if len(self.times.keys() | self.left.keys()) == self._expected:
            self.all.set()


@pytest.mark.parametrize("delay", [0.0, 0.001])
def test_with_many_threads_every_one_of_thousands_of_tickets_ends_once_and_all_threads_end(delay: float) -> None:
    callers, each = 4, 750
    queue: BatchQueue[str] = BatchQueue(decoders=3)
    for lane in "abc":
        tables = {device: LatencyTable({1: 1e-5, 4: 2e-5}) for device in "def"}
        queue.open_lane(lane, LaneLimits(4, callers * each, delay), tables)
    for device in "def":
        queue.add_device(device, 2)
    ends = EndCounter(callers * each)
    errors: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> threading.Thread:
        def body() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
                ends.all.set()

        thread = threading.Thread(target=body, daemon=True)
        thread.start()
        return thread

    def decode() -> None:
        while (turn := queue.next_to_decode()) is not None:
            ends.add(turn.late)
            queue.put(dict.fromkeys(turn.tickets, 1e-6))

    def serve(device: str) -> None:
        batch: Batch[str] | None = None
        batches = 0
        while (batch := queue.take(device, batch)) is not None:
            batches += 1
            if device == "f" and batches > 20:  # this one fails
                ends.add(batch.late)
                ends.add(queue.remove_device("f", batch))
                return
            queue.mark_answered(batch.tickets)
            ends.add(batch.tickets + batch.late)

    def call(caller: int) -> None:
        for number in range(each):
            name = f"{caller}.{number}"
            ticket = queue.admit("abc"[number % 3], name, None, Priority(number % 3), size=1)
            queue.notify()
            if number % 7 == 0:
                ends.leave(ticket, queue.cancel(ticket))

    workers = [guarded(decode) for _ in range(3)] + [guarded(lambda d=d: serve(d)) for d in "ddeeff"]
    senders = [guarded(lambda caller=caller: call(caller)) for caller in range(callers)]
    assert ends.all.wait(timeout=60.0), "tickets were forgotten"
    queue.close()
    for thread in [*senders, *workers]:
        thread.join(timeout=PATIENCE_SECONDS)
    assert errors == []
    assert not any(thread.is_alive() for thread in [*senders, *workers])
    assert set(ends.times.values()) == {1}
    assert all(stood is Stage.TAKEN for name, stood in ends.left.items() if name in ends.times)
    assert [queue.depth(lane) for lane in "abc"] == [0, 0, 0]
