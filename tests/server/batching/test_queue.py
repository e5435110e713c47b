"""What the batch queue promises, shown with a clock that the test moves."""

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linnaeus.server.batching import AlreadyLate, Batch, BatchQueue, LaneLimits, QueueClosed, QueueFull, Stage, Ticket


class FakeClock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make(max_batch_size: int = 4, max_queue_size: int = 100, delay: float = 0.0) -> tuple[BatchQueue[str], FakeClock]:
    clock = FakeClock()
    queue: BatchQueue[str] = BatchQueue(clock)
    queue.open_lane("a", LaneLimits(max_batch_size, max_queue_size, delay))
    queue.open_lane("b", LaneLimits(max_batch_size, max_queue_size, delay))
    return queue, clock


def put(queue: BatchQueue[str], payload: str, lane: str = "a", deadline: float | None = None) -> Ticket[str]:
    ticket = queue.admit(lane, deadline)
    queue.put(ticket, payload)
    return ticket


def payloads(batch: Batch[str] | None) -> list[str | None]:
    assert batch is not None
    return [ticket.payload for ticket in batch.tickets]


def test_a_batch_holds_what_waited_in_order_up_to_the_limit() -> None:
    queue, _ = make(max_batch_size=3)
    for name in "12345":
        put(queue, name)
    batch = queue.take()
    assert payloads(batch) == ["1", "2", "3"]
    batch = queue.take(batch)
    assert payloads(batch) == ["4", "5"]
    assert queue.take_nowait(batch) is None


def test_beside_a_running_batch_of_the_lane_only_a_full_one_is_taken() -> None:
    queue, _ = make(max_batch_size=2)
    put(queue, "1")
    running = queue.take()
    put(queue, "2")
    assert queue.take_nowait() is None
    put(queue, "3")
    beside = queue.take_nowait()
    assert payloads(beside) == ["2", "3"]
    put(queue, "4")
    assert queue.take_nowait(running) is None  # the other one still runs
    assert payloads(queue.take_nowait(beside)) == ["4"]


def test_a_running_batch_holds_up_no_other_lane() -> None:
    queue, _ = make(max_batch_size=2)
    put(queue, "a1", "a")
    queue.take()
    put(queue, "a2", "a")
    put(queue, "b1", "b")
    assert payloads(queue.take_nowait()) == ["b1"]


def test_a_batch_says_how_many_run_beside_it() -> None:
    queue, _ = make(max_batch_size=1)
    for name in "123":
        put(queue, name)
    first, second = queue.take(), queue.take()
    assert first is not None and second is not None
    third = queue.take(first)
    assert third is not None
    assert [first.beside, second.beside, third.beside] == [0, 1, 1]


def test_a_stream_that_takes_wakes_another_if_there_is_more() -> None:
    queue, _ = make(max_batch_size=1)
    blocker = queue.admit("a")
    taken: list[Batch[str] | None] = []
    streams = [threading.Thread(target=lambda: taken.append(queue.take()), daemon=True) for _ in range(2)]
    for stream in streams:
        stream.start()
    other = queue.admit("b")
    queue.put(blocker, "1")
    queue.put(other, "2")
    for stream in streams:
        stream.join(timeout=10)
    assert sorted(payloads(batch)[0] or "" for batch in taken) == ["1", "2"]


def test_a_batch_is_of_one_lane_and_the_longest_waiting_head_goes_first() -> None:
    queue, _ = make()
    put(queue, "b1", "b")
    put(queue, "a1", "a")
    put(queue, "b2", "b")
    assert payloads(queue.take()) == ["b1", "b2"]
    assert payloads(queue.take()) == ["a1"]


def test_a_ticket_is_queued_when_it_is_put_not_when_it_is_admitted() -> None:
    queue, _ = make()
    slow = queue.admit("a")
    put(queue, "fast")
    batch = queue.take()
    assert payloads(batch) == ["fast"]
    queue.put(slow, "slow")
    assert payloads(queue.take(batch)) == ["slow"]


def test_a_full_lane_refuses_before_any_work_and_leaves_other_lanes_open() -> None:
    queue, _ = make(max_queue_size=2)
    put(queue, "1")
    queue.admit("a")
    with pytest.raises(QueueFull):
        queue.admit("a")
    queue.admit("b")


def test_taking_and_abandoning_both_give_places_back() -> None:
    queue, _ = make(max_queue_size=2)
    first, second = put(queue, "1"), queue.admit("a")
    assert queue.abandon(first) is Stage.QUEUED
    assert queue.abandon(second) is Stage.ADMITTED
    assert queue.depth("a") == 0
    put(queue, "3"), put(queue, "4")
    queue.take()
    assert queue.depth("a") == 0


def test_an_abandoned_ticket_is_never_handed_out() -> None:
    queue, _ = make()
    tickets = [put(queue, name) for name in "123"]
    queue.abandon(tickets[0])
    queue.abandon(tickets[2])
    assert payloads(queue.take()) == ["2"]


def test_a_ticket_abandoned_while_it_is_decoded_is_not_queued() -> None:
    queue, _ = make()
    ticket = queue.admit("a")
    queue.abandon(ticket)
    queue.put(ticket, "late")
    assert queue.take_nowait() is None
    assert queue.depth("a") == 0


def test_abandoning_twice_counts_once() -> None:
    queue, _ = make()
    ticket, other = put(queue, "1"), put(queue, "2")
    queue.abandon(ticket)
    assert queue.abandon(ticket) is Stage.GONE
    assert queue.depth("a") == 1
    assert payloads(queue.take()) == [other.payload]


def test_a_late_ticket_is_dropped_when_the_batch_is_formed_and_leaves_its_place_to_a_good_one() -> None:
    queue, clock = make(max_batch_size=2)
    put(queue, "late", deadline=clock.now + 1)
    put(queue, "good", deadline=clock.now + 9)
    put(queue, "free")
    clock.now += 1
    batch = queue.take()
    assert payloads(batch) == ["good", "free"]
    assert batch is not None and [ticket.payload for ticket in batch.late] == ["late"]


def test_a_deadline_in_the_past_is_refused_at_the_door() -> None:
    queue, clock = make()
    with pytest.raises(AlreadyLate):
        queue.admit("a", clock.now)


def test_without_a_delay_a_free_device_never_waits() -> None:
    queue, _ = make(max_batch_size=8)
    put(queue, "1")
    assert payloads(queue.take_nowait()) == ["1"]


def test_with_a_delay_a_batch_goes_when_it_is_full_or_the_delay_is_over() -> None:
    queue, clock = make(max_batch_size=2, delay=0.5)
    put(queue, "1")
    assert queue.take_nowait() is None
    put(queue, "2")
    batch = queue.take_nowait()
    assert payloads(batch) == ["1", "2"]
    put(queue, "3")
    clock.now += 0.5
    assert payloads(queue.take_nowait(batch)) == ["3"]


def test_a_lane_that_waits_for_more_does_not_hold_up_a_full_one() -> None:
    queue, _ = make(max_batch_size=2, delay=0.5)
    put(queue, "a1", "a")
    put(queue, "b1", "b"), put(queue, "b2", "b")
    assert payloads(queue.take_nowait()) == ["b1", "b2"]


def test_close_admits_nothing_more_and_hands_out_all_that_is_held_without_delay() -> None:
    queue, _ = make(delay=0.5)
    put(queue, "queued")
    decoding = queue.admit("a")
    queue.close()
    with pytest.raises(QueueClosed):
        queue.admit("a")
    assert payloads(queue.take()) == ["queued"]
    queue.put(decoding, "decoded")
    assert payloads(queue.take()) == ["decoded"]
    assert queue.take() is None


def test_every_waiting_stream_ends_when_the_last_batch_of_a_closed_queue_is_done() -> None:
    looks = threading.Semaphore(0)  # a stream reads the clock once before it waits, under the queue's lock

    def clock() -> float:
        looks.release()
        return 0.0

    queue: BatchQueue[str] = BatchQueue(clock)
    queue.open_lane("a", LaneLimits(max_batch_size=4, max_queue_size=4))
    ticket = queue.admit("a")

    def serve() -> None:
        batch: Batch[str] | None = None
        while (batch := queue.take(batch)) is not None:
            pass

    streams = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
    for stream in streams:
        stream.start()
    assert all(looks.acquire(timeout=10) for _ in streams)
    queue.close()
    assert all(looks.acquire(timeout=10) for _ in streams)
    queue.put(ticket, "last")
    for stream in streams:
        stream.join(timeout=10)
    assert not any(stream.is_alive() for stream in streams)


def test_an_unknown_lane_is_closed() -> None:
    queue, _ = make()
    with pytest.raises(QueueClosed):
        queue.admit("nowhere")


@pytest.mark.parametrize("ending", ["put", "close", "abandon"])
def test_a_waiting_device_is_woken_by(ending: str) -> None:
    queue, _ = make()
    ticket = queue.admit("a")
    if ending == "abandon":
        queue.close()
    taken: list[Batch[str] | None] = []
    device = threading.Thread(target=lambda: taken.append(queue.take()), daemon=True)
    device.start()
    if ending == "put":
        queue.put(ticket, "1")
    else:
        queue.abandon(ticket)
        queue.close()
    device.join(timeout=10)
    assert not device.is_alive()
    assert (taken[0] is not None) == (ending == "put")


class AnyHistory(RuleBasedStateMachine):
    """Random arrivals, cancellations, deadlines, batches and a closing: the class's invariants hold throughout."""

    def __init__(self) -> None:
        super().__init__()
        self.queue, self.clock = make(max_batch_size=3, max_queue_size=6, delay=0.0)
        self.decoding: list[Ticket[str]] = []
        self.waiting: list[Ticket[str]] = []
        self.running: list[Batch[str]] = []
        self.ended: list[Ticket[str]] = []
        self.closed = False

    @rule(lane=st.sampled_from("ab"), patience=st.none() | st.integers(1, 5))
    def admit(self, lane: str, patience: int | None) -> None:
        held = sum(ticket.lane == lane for ticket in self.decoding + self.waiting)
        try:
            self.decoding.append(self.queue.admit(lane, None if patience is None else self.clock.now + patience))
        except QueueClosed:
            assert self.closed
        except QueueFull:
            assert held == 6
        else:
            assert held < 6 and not self.closed

    @precondition(lambda self: self.decoding)
    @rule(data=st.data())
    def put(self, data: st.DataObject) -> None:
        ticket = self.decoding.pop(data.draw(st.integers(0, len(self.decoding) - 1)))
        self.queue.put(ticket, "pixels")
        self.waiting.append(ticket)

    @precondition(lambda self: self.decoding or self.waiting)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(self.decoding + self.waiting))
        self.queue.abandon(ticket)
        (self.decoding if ticket in self.decoding else self.waiting).remove(ticket)
        self.ended.append(ticket)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def take(self) -> None:
        batch = self.queue.take_nowait()
        due = [ticket for ticket in self.waiting if self.is_due(ticket.lane)]
        if batch is None:
            assert not due
            return
        assert batch.beside == len(self.running)
        self.running.append(batch)
        assert len(batch.tickets) + len(batch.late) > 0 and len(batch.tickets) <= 3
        assert due[0] in batch.tickets + batch.late
        lane = [ticket for ticket in self.waiting if ticket.lane == batch.lane]
        handed_out = sorted(batch.tickets + batch.late, key=lambda ticket: ticket.order)
        assert handed_out == lane[: len(handed_out)]
        assert all(ticket.deadline is None or ticket.deadline > self.clock.now for ticket in batch.tickets)
        assert all(ticket.deadline is not None and ticket.deadline <= self.clock.now for ticket in batch.late)
        for ticket in handed_out:
            assert ticket not in self.ended
            self.waiting.remove(ticket)
            self.ended.append(ticket)

    def is_due(self, lane: object) -> bool:
        waiting = sum(ticket.lane == lane for ticket in self.waiting)
        return self.closed or waiting >= 3 or all(batch.lane != lane for batch in self.running)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        finished = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        following = self.queue.take_nowait(finished)
        if following is not None:
            self.running.append(following)
            for ticket in following.tickets + following.late:
                self.waiting.remove(ticket)
                self.ended.append(ticket)

    @rule()
    def close(self) -> None:
        self.queue.close()
        self.closed = True

    @invariant()
    def depth_counts_what_is_held(self) -> None:
        for lane in "ab":
            assert self.queue.depth(lane) == sum(ticket.lane == lane for ticket in self.decoding + self.waiting)

    def teardown(self) -> None:
        self.queue.close()
        for ticket in self.decoding:
            self.queue.abandon(ticket)
        while (batch := self.queue.take()) is not None:
            for ticket in batch.tickets + batch.late:
                self.waiting.remove(ticket)
        assert not self.waiting


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
