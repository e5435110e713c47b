"""Lanes open and close in random histories, and each is removed exactly when it is empty."""

import pytest
from builders import TENTH_AN_IMAGE, CallCounter, FakeClock
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from linnaeus.server.scheduling import (
    Batch,
    BatchQueue,
    LaneClosed,
    LaneLimits,
    LatencyTable,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
    TooLate,
)


class AnyClosing(RuleBasedStateMachine):
    """Lanes open and close in random order beside arrivals, decoding, cancellations, batches and a lost device."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue: BatchQueue[int] = BatchQueue(self.clock, on_displaced=lambda ticket: self.forget([ticket]))
        for device in "de":
            self.queue.add_device(device, 2)
        self.open: list[int] = []
        self.closing: dict[int, CallCounter] = {}
        self.lanes = 0
        self.inside: dict[int, list[Ticket[int]]] = {}
        self.decoding: list[Ticket[int]] = []
        self.running: list[Batch[int]] = []
        self.unanswered: list[Ticket[int]] = []
        self.admitted = 0
        self.open_lane()

    @rule(delay=st.sampled_from([0.0, 10.0]))
    def open_lane(self, delay: float = 0.0) -> None:
        learn_from = self.open[-1] if self.open else None
        tables = {device: LatencyTable(TENTH_AN_IMAGE) for device in "de"}
        self.queue.open_lane(self.lanes, LaneLimits(3, 20, delay), tables, learn_from)
        self.open.append(self.lanes)
        self.inside[self.lanes] = []
        self.lanes += 1

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close_lane(self, data: st.DataObject) -> None:
        lane = data.draw(st.sampled_from(self.open))
        self.open.remove(lane)
        self.closing[lane] = CallCounter()
        self.queue.close_lane(lane, self.closing[lane])

    @rule(data=st.data(), timeout=st.sampled_from([None, 0.3, 3.0]), caller=st.sampled_from(["", "canceller"]))
    def admit(self, data: st.DataObject, timeout: float | None, caller: str) -> None:
        lane = data.draw(st.integers(0, self.lanes - 1))
        deadline = None if timeout is None else self.clock.now + timeout
        try:
            ticket = self.queue.admit(lane, self.admitted, deadline, Priority(self.admitted % 3), caller=caller)
        except LaneClosed:
            assert lane not in self.open
        except (TooLate, QueueFull, NoDevice):
            assert lane in self.open
        else:
            assert lane in self.open
            self.inside[lane].append(ticket)
            self.admitted += 1

    @rule()
    def decode(self) -> None:
        turn = self.queue.next_to_decode_nowait()
        if turn is not None:
            self.forget(turn.late)
            self.decoding += turn.tickets

    @precondition(lambda self: self.decoding)
    @rule()
    def put(self) -> None:
        ticket = self.decoding.pop(0)
        if self.queue.put({ticket: 0.01}):
            self.queue.cancel(ticket, by_caller=False)
            self.forget([ticket])

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        tickets = [ticket for inside in self.inside.values() for ticket in inside] + self.unanswered
        if tickets:
            ticket = data.draw(st.sampled_from(tickets))
            stage = self.queue.cancel(ticket)
            if stage not in (Stage.TAKEN, Stage.ENDED):
                self.forget([ticket])

    @rule(device=st.sampled_from("de"))
    def take(self, device: str) -> None:
        if sum(batch.device == device for batch in self.running) < 2:
            self.record_batch(self.queue.take_nowait(device))

    @precondition(lambda self: self.running)
    @rule(seconds=st.sampled_from([0.0, 0.2]), answered_first=st.booleans())
    def finish(self, seconds: float, answered_first: bool) -> None:
        self.clock.now += seconds
        batch = self.running.pop(0)
        if answered_first:
            self.queue.mark_answered(batch.tickets)
        else:
            self.unanswered += batch.tickets
        self.forget(batch.tickets)
        self.record_batch(self.queue.take_nowait(batch.device, batch))

    @rule()
    def answer(self) -> None:
        """The event loop marks answers, possibly after the lane was removed."""
        self.queue.mark_answered(self.unanswered)
        self.unanswered = []

    @precondition(lambda self: self.admitted > 10)
    @rule()
    def lose_a_device(self) -> None:
        for batch in [batch for batch in self.running if batch.device == "e"] or [None]:
            if batch is not None:
                self.running.remove(batch)
                self.forget([ticket for ticket in batch.tickets if ticket.stage is Stage.ENDED])
            self.forget(self.queue.remove_device("e", batch))

    def record_batch(self, batch: Batch[int] | None) -> None:
        if batch is None:
            return
        self.forget(batch.late)
        assert all(ticket.lane == batch.lane for ticket in batch.tickets)
        if batch.tickets:
            self.running.append(batch)

    def forget(self, tickets: list[Ticket[int]]) -> None:
        for ticket in tickets:
            self.inside[int(str(ticket.lane))].remove(ticket)

    @invariant()
    def on_drained_is_called_exactly_when_the_lane_is_empty(self) -> None:
        for lane, on_drained in self.closing.items():
            assert on_drained.times == (not self.inside[lane]), (lane, self.inside[lane])

    def teardown(self) -> None:
        for lane in list(self.open):
            self.open.remove(lane)
            self.closing[lane] = CallCounter()
            self.queue.close_lane(lane, self.closing[lane])
        while any(on_drained.times == 0 for on_drained in self.closing.values()):
            remaining = sum(map(len, self.inside.values()))
            for _ in range(30):
                self.decode()
            while self.decoding:
                self.put()
            for device in "de":
                self.take(device)
            while self.running:
                self.finish(0.0, answered_first=True)
            assert sum(map(len, self.inside.values())) < remaining, "a closed lane does not hand out its tickets"
        self.on_drained_is_called_exactly_when_the_lane_is_empty()
        assert not self.queue._state.lanes and not self.queue._state._closing
        with pytest.raises(QueueClosed):
            self.queue.admit(0, 0)


TestAnyClosing = AnyClosing.TestCase
TestAnyClosing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
