"""A closed lane admits nothing more, serves its tickets and is then removed; no ticket is lost."""

import random

import pytest
from builders import CallCounter, decode_all, decode_next, new_queue, put
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.calls import Sender
from benchmarks.simulation.one_machine import Simulation
from benchmarks.simulation.replica import SimulatedModel
from linnaeus.server.scheduling import (
    BatchQueue,
    LaneClosed,
    LaneLimits,
    LatencyTable,
    Priority,
    Stage,
    Ticket,
)


def test_an_empty_lane_is_removed_at_once() -> None:
    queue, _ = new_queue()
    on_drained = CallCounter()
    queue.close_lane("a", on_drained)
    assert on_drained.times == 1 and queue.depth("a") == 0 and queue.batch_seconds("a") == {}
    assert queue.prediction_error("a").margin_seconds == 0.0
    with pytest.raises(LaneClosed):
        queue.admit("a", "late")
    queue.admit("b", "another lane's")


def test_a_closed_lanes_tickets_are_served_without_waiting_for_a_full_batch() -> None:
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
    queue.mark_answered(batch.tickets)  # the event loop marks the answer after the device has finished
    assert on_drained.times == 1 and batch.tickets[0].stage is Stage.ENDED


def test_closing_a_lane_releases_its_held_tickets() -> None:
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


def test_a_closed_lane_is_removed_however_its_last_ticket_ends() -> None:
    def cancelled(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.cancel(ticket)
        queue.put({ticket: 0.01})  # its decoder had not noticed the cancellation

    def late(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        clock.now += 100.0
        batch = queue.take_nowait("d")
        assert batch is not None and batch.late == [ticket]

    def stranded(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        assert queue.remove_device("d") == [ticket]

    def requeued(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        assert queue.remove_device("d", queue.take_nowait("d")) == [ticket]

    def cancelled_while_running(queue: BatchQueue[str], ticket: Ticket[str]) -> None:
        queue.put({ticket: 0.0})
        batch = queue.take_nowait("d")
        assert on_drained.times == 0
        queue.take_nowait("d", batch)
        assert on_drained.times == 1
        assert queue.cancel(ticket) is Stage.TAKEN  # before the event loop delivered its answer
        queue.mark_answered([ticket])

    for end in (cancelled, late, stranded, requeued, cancelled_while_running):
        queue, clock = new_queue("a")
        on_drained = CallCounter()
        ticket = queue.admit("a", "last", clock.now + 10.0)
        assert decode_next(queue) is ticket
        queue.close_lane("a", on_drained)
        assert on_drained.times == 0
        end(queue, ticket)
        assert on_drained.times == 1 and ticket.stage is Stage.ENDED


def test_a_closed_lane_is_removed_when_its_last_ticket_is_dropped_before_decoding() -> None:
    queue, clock = new_queue("a")
    clock.now += 1.0
    ticket = queue.admit("a", "late", clock.now + 1.0)
    queue.close_lane("a", CallCounter())
    clock.now += 5.0
    turn = queue.next_to_decode_nowait()
    assert turn is not None and turn.late == [ticket] and queue.depth("a") == 0


def test_a_new_lane_takes_over_the_measurements_of_an_open_lane_of_the_same_model() -> None:
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
    assert queue.batch_seconds("orphan")["d"][1] == 9.0, "the other lane was removed"


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    reloads=st.lists(st.floats(0.0, 4.0), max_size=8),
    rate=st.sampled_from([20.0, 90.0, 300.0]),
    timeout=st.sampled_from([None, 0.5]),
)
def test_reloads_under_load_cause_no_failures(
    seed: int, reloads: list[float], rate: float, timeout: float | None
) -> None:
    """Calls that were admitted are answered by their own generation, and reloading causes no refusals."""
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
        simulation.arrive(
            f"m.{generation}", Sender("", timeout, random.Random(simulation.events.now).choice(list(Priority)))
        )

    for moment in reloads:
        simulation.at(moment, reload)
    # Without deadlines only the queue's length bounds the waiting tickets, so the rate is kept below the capacity.
    for moment in simulation.poisson(rate if timeout else min(rate, 90.0), 0.0, 4.0):
        simulation.at(moment, arrive)
    simulation.run()
    outcomes = {call.outcome for call in simulation.calls}
    assert outcomes <= ({"answered"} if timeout is None else {"answered", "TooLate", "expired", "dropped"})
    assert sorted(gone) == sorted(f"m.{number}" for number in range(generation))
    for batch in simulation.batches:
        assert {ticket.payload.model for ticket in batch.tickets} == {batch.lane}
    if rate == 20.0:
        assert outcomes == {"answered"}


def test_two_lanes_can_close_at_the_same_time() -> None:
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
