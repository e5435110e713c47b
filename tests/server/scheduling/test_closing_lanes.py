"""A lane that is closed takes nothing more, serves what it holds, and then is gone: no ticket is lost for it."""

import random

import pytest
from builders import TENTH_AN_IMAGE, FakeClock, decode_all, decode_next, new_queue, put
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from simulation import SimulatedModel, Simulation

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


class CallCounter:
    """What a closing lane calls; once, and no more."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_an_empty_lane_is_removed_at_once() -> None:
    queue, _ = new_queue()
    on_drained = CallCounter()
    queue.close_lane("a", on_drained)
    assert on_drained.times == 1 and queue.depth("a") == 0 and queue.batch_seconds("a") == {}
    assert queue.prediction_error("a").margin_seconds == 0.0
    with pytest.raises(LaneClosed):
        queue.admit("a", "late")
    queue.admit("b", "another lane's")


def test_what_a_closed_lane_holds_is_served_without_waiting_for_more() -> None:
    queue, _ = new_queue("a", max_queue_delay_seconds=3600.0)
    put(queue, "first")
    assert queue.take_nowait("d") is None, "it waits for a full batch"
    on_drained = CallCounter()
    queue.close_lane("a", on_drained)
    with pytest.raises(LaneClosed):
        queue.admit("a", "late")
    batch = queue.take_nowait("d")
    assert batch is not None and on_drained.times == 0
    assert queue.take_nowait("d", batch) is None and on_drained.times == 1
    queue.mark_answered(batch.tickets)  # the event loop says so later than the device
    assert on_drained.times == 1 and batch.tickets[0].stage is Stage.ENDED


def test_what_is_held_back_for_its_caller_s_cancellations_goes_out_at_once() -> None:
    queue, clock = new_queue("ab")
    for number in range(16):
        ticket = queue.admit("a", str(number), caller="canceller")
        clock.now += 0.1
        queue.cancel(ticket)
    put(queue, "busy", "b")
    assert queue.take_nowait("d") is not None
    held = queue.admit("a", "held", caller="canceller")
    assert held.held_until > clock.now and queue.next_to_decode_nowait() is None
    queue.close_lane("a", CallCounter())
    assert decode_next(queue) is held


def test_the_last_ticket_may_be_cancelled_be_late_or_lose_its_device() -> None:
    def left(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.cancel(ticket)
        queue.put({ticket: 0.01})  # its decoder did not know

    def late(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        clock.now += 100.0
        batch = queue.take_nowait("d")
        assert batch is not None and batch.late == [ticket]

    def stranded(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        assert queue.remove_device("d") == [ticket]

    def given_back(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        assert queue.remove_device("d", queue.take_nowait("d")) == [ticket]

    def left_while_it_ran(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        batch = queue.take_nowait("d")
        assert on_drained.times == 0
        queue.take_nowait("d", batch)
        assert on_drained.times == 1
        assert queue.cancel(ticket) is Stage.TAKEN  # before its answer got to the event loop
        queue.mark_answered([ticket])

    for end in (left, late, stranded, given_back, left_while_it_ran):
        queue, clock = new_queue("a")
        on_drained = CallCounter()
        ticket = queue.admit("a", "last", clock.now + 10.0)
        assert decode_next(queue) is ticket
        queue.close_lane("a", on_drained)
        assert on_drained.times == 0
        end(queue, ticket)
        assert on_drained.times == 1 and ticket.stage is Stage.ENDED


def test_a_lane_that_was_removed_when_its_ticket_came_late_out_of_a_decoder() -> None:
    queue, clock = new_queue("a")
    clock.now += 1.0
    ticket = queue.admit("a", "late", clock.now + 1.0)
    queue.close_lane("a", CallCounter())
    clock.now += 5.0
    turn = queue.next_to_decode_nowait()
    assert turn is not None and turn.late == [ticket] and queue.depth("a") == 0


def test_a_lane_of_the_same_model_begins_with_what_the_old_one_has_learnt() -> None:
    queue, clock = new_queue("a", seconds={1: 0.1, 4: 0.4})
    for number in range(20):
        put(queue, str(number))
        batch = queue.take_nowait("d")
        clock.now += 0.3
        queue.take_nowait("d", batch)
    learnt = queue.batch_seconds("a")["d"]
    assert learnt[1] > 0.25
    fresh = LatencyTable({1: 9.0, 4: 9.0})
    queue.open_lane("anew", LaneLimits(4, 100), {"d": fresh}, learn_from="a")
    assert queue.batch_seconds("anew")["d"] == learnt
    queue.close_lane("a", CallCounter())
    assert queue.batch_seconds("anew")["d"] == learnt
    other_sizes = {"d": LatencyTable({1: 9.0, 8: 9.0})}
    queue.open_lane("other", LaneLimits(8, 100), other_sizes, learn_from="anew")
    assert queue.batch_seconds("other")["d"][1] == 9.0
    queue.open_lane("orphan", LaneLimits(4, 100), {"d": LatencyTable({1: 9.0, 4: 9.0})}, learn_from="a")
    assert queue.batch_seconds("orphan")["d"][1] == 9.0, "the other lane is gone"


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    reloads=st.lists(st.floats(0.0, 4.0), max_size=8),
    rate=st.sampled_from([20.0, 90.0, 300.0]),
    timeout=st.sampled_from([None, 0.5]),
)
def test_reloads_under_load_fail_no_call_that_would_not_have_failed_anyway(
    seed: int, reloads: list[float], rate: float, timeout: float | None
) -> None:
    """Whenever generations change, whoever was admitted is answered by its own, and nobody is turned away for it."""
    machine = {1: 0.01, 2: 0.018, 4: 0.032, 8: 0.06}
    simulation = Simulation({"m.0": SimulatedModel(machine, 0.001)}, seed=seed)
    generation = 0
    gone: list[str] = []

    def reload() -> None:
        nonlocal generation
        old, new = f"m.{generation}", f"m.{generation + 1}"
        simulation.models[new] = simulation.models[old]
        simulation.queue.open_lane(new, LaneLimits(8, 512), {"device": LatencyTable(machine)}, learn_from=old)
        generation += 1
        simulation.queue.close_lane(old, lambda: gone.append(old))

    def arrive() -> None:
        simulation._arrive(f"m.{generation}", timeout, random.Random(simulation.now).choice(list(Priority)))

    for moment in reloads:
        simulation._at(moment, reload)
    # Without deadlines nothing but the queue's length bounds what waits: no more is sent then than can be served.
    for moment in simulation.poisson(rate if timeout else min(rate, 90.0), 0.0, 4.0):
        simulation._at(moment, arrive)
    simulation.run()
    outcomes = {call.outcome for call in simulation.calls}
    assert outcomes <= ({"answered"} if timeout is None else {"answered", "TooLate", "expired", "dropped"})
    assert sorted(gone) == sorted(f"m.{number}" for number in range(generation))
    for batch in simulation.batches:
        assert {ticket.payload.model for ticket in batch.tickets} == {batch.lane}
    if rate == 20.0:
        assert outcomes == {"answered"}


class AnyClosing(RuleBasedStateMachine):
    """Lanes open and close in any order beside arrivals, decoding, cancellations, batches and the loss of a device."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock()
        self.queue: BatchQueue[int] = BatchQueue(self.clock)
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

    @rule(data=st.data(), patience=st.sampled_from([None, 0.3, 3.0]), caller=st.sampled_from(["", "canceller"]))
    def admit(self, data: st.DataObject, patience: float | None, caller: str) -> None:
        lane = data.draw(st.integers(0, self.lanes - 1))
        deadline = None if patience is None else self.clock.now + patience
        try:
            ticket = self.queue.admit(lane, self.admitted, deadline, Priority(self.admitted % 3), 100, caller)
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
            stood = self.queue.cancel(ticket)
            if stood not in (Stage.TAKEN, Stage.ENDED):
                self.forget([ticket])

    @rule(device=st.sampled_from("de"))
    def take(self, device: str) -> None:
        if sum(batch.device == device for batch in self.running) < 2:
            self.took(self.queue.take_nowait(device))

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
        self.took(self.queue.take_nowait(batch.device, batch))

    @rule()
    def answer(self) -> None:
        """The event loop comes to it, maybe after the lane is gone."""
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

    def took(self, batch: Batch[int] | None) -> None:
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
    def a_closing_lane_is_gone_exactly_when_nothing_is_left_in_it(self) -> None:
        for lane, on_drained in self.closing.items():
            assert on_drained.times == (not self.inside[lane]), (lane, self.inside[lane])

    def teardown(self) -> None:
        for lane in list(self.open):
            self.open.remove(lane)
            self.closing[lane] = CallCounter()
            self.queue.close_lane(lane, self.closing[lane])
        while any(on_drained.times == 0 for on_drained in self.closing.values()):
            left = sum(map(len, self.inside.values()))
            for _ in range(30):
                self.decode()
            while self.decoding:
                self.put()
            for device in "de":
                self.take(device)
            while self.running:
                self.finish(0.0, answered_first=True)
            assert sum(map(len, self.inside.values())) < left, "a closed lane holds tickets that it gives nobody"
        self.a_closing_lane_is_gone_exactly_when_nothing_is_left_in_it()
        assert not self.queue._state.lanes and not self.queue._state._closing
        with pytest.raises(QueueClosed):
            self.queue.admit(0, 0)


TestAnyClosing = AnyClosing.TestCase
TestAnyClosing.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_two_lanes_close_at_once() -> None:
    queue, _ = new_queue("ab")
    for lane in "ab":
        queue.admit(lane, lane)
    on_drained = CallCounter()
    queue.close_lane("a", on_drained)
    queue.close_lane("b", on_drained)
    decode_all(queue)
    batch = queue.take_nowait("d")
    other = queue.take_nowait("d")
    queue.take_nowait("d", batch)
    assert on_drained.times == 1
    queue.take_nowait("d", other)
    assert on_drained.times == 2
