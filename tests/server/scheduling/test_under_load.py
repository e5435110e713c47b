"""Goodput and fairness of a queue under more load than its devices can serve, simulated with fixed seeds."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache

import pytest

from benchmarks.simulation.calls import Call
from benchmarks.simulation.one_machine import Simulation
from benchmarks.simulation.replica import SimulatedModel
from linnaeus.server.scheduling import LaneLimits, Priority

HIGH, NORMAL, LOW = Priority
# Fast enough that a full batch beside another takes at most half of a deadline even at a third of the speed.
MODEL = SimulatedModel({1: 0.008, 2: 0.013, 4: 0.022, 8: 0.04}, decode_seconds=0.002)
# About the times of a small classifier on two cores.
HEAVY = SimulatedModel({1: 0.02, 2: 0.035, 4: 0.065, 8: 0.125}, decode_seconds=0.004)
LIGHT = SimulatedModel({1: 0.001, 8: 0.004}, decode_seconds=0.001)
DEADLINE_SECONDS = 0.5


@cache
def capacity(workers: int = 2) -> float:
    """Returns the answers per second of a saturated machine without deadlines."""
    simulation = Simulation({"m": MODEL}, workers, limits={"m": LaneLimits(8, 64)})
    simulation.send("m", steady(500.0, 0.0, 6.0), None)
    simulation.run()
    return simulation.answered(2.0, 6.0)


def steady(rate: float, start: float, end: float) -> list[float]:
    return [start + number / rate for number in range(int((end - start) * rate))]


def overloaded(
    factor: float,
    seconds: float = 8.0,
    slowness: Callable[[float], float] = lambda now: 1.0,
    workers: int = 2,
    seed: int = 1,
) -> Simulation:
    """Simulates Poisson arrivals at `factor` times the capacity."""
    simulation = Simulation({"m": MODEL}, workers, slowness=slowness, seed=seed)
    simulation.send("m", simulation.poisson(factor * capacity(workers), 0.0, seconds), DEADLINE_SECONDS)
    simulation.run()
    return simulation


def in_time(calls: Iterable[Call]) -> float:
    calls = list(calls)
    return sum(call.in_time for call in calls) / len(calls)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("factor", "share"), [(2.0, 0.97), (5.0, 0.95)])
def test_under_overload_goodput_stays_near_capacity(factor: float, share: float, workers: int) -> None:
    simulation = overloaded(factor, workers=workers)
    assert simulation.goodput(2.0, 8.0) >= share * capacity(workers)


@pytest.mark.parametrize("factor", [0.5, 2.0, 5.0])
def test_every_call_ends_by_its_deadline_and_nothing_expired_is_run(factor: float) -> None:
    simulation = overloaded(factor, seconds=6.0)
    assert all(call.outcome for call in simulation.calls)
    assert all(call.ended_at <= (call.deadline or 0.0) + 1e-9 for call in simulation.calls)
    for batch in simulation.batches:
        assert all(ticket.is_before_deadline(ticket.taken_at) for ticket in batch.tickets)


def test_at_half_the_capacity_99_percent_are_answered_in_time() -> None:
    assert in_time(overloaded(0.5).calls) >= 0.99


def test_nearly_all_admitted_calls_are_answered_in_time() -> None:
    admitted = [call for call in overloaded(2.0).calls if call.ticket is not None and call.sent_at > 2.0]
    assert in_time(admitted) >= 0.95


@pytest.mark.parametrize("factor", [1.5, 5.0])
@pytest.mark.parametrize("slowness", [0.5, 1.15, 1.5, 2.5])
def test_an_estimate_that_is_wrong_from_the_start_corrects_itself_within_a_second(
    slowness: float, factor: float
) -> None:
    simulation = overloaded(factor / slowness, seconds=6.0, slowness=lambda now: slowness)
    possible = min(capacity() / slowness, factor * capacity() / slowness)
    assert simulation.goodput(1.0, 6.0) >= 0.9 * possible


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_goodput_recovers_within_two_seconds_when_the_machine_slows_down_and_recovers(
    seed: int,
) -> None:
    simulation = overloaded(2.0, 15.0, lambda now: 2.0 if 5.0 <= now < 10.0 else 1.0, seed=seed)
    assert simulation.goodput(7.0, 9.5) >= 0.9 * capacity() / 2
    assert simulation.goodput(12.0, 15.0) >= 0.9 * capacity()


def test_after_a_slow_minute_an_idle_machine_refuses_no_call() -> None:
    simulation = Simulation({"m": MODEL}, slowness=lambda now: 20.0 if now < 60.0 else 1.0)
    simulation.send("m", simulation.poisson(30.0, 0.0, 60.0), DEADLINE_SECONDS)
    simulation.send("m", steady(2.0, 65.0, 85.0), DEADLINE_SECONDS)
    simulation.run()
    assert in_time(call for call in simulation.calls if call.sent_at >= 65.0) == 1.0


def test_a_light_model_meets_tight_deadlines_beside_a_saturated_model() -> None:
    limits = {"heavy": LaneLimits(8, 64), "light": LaneLimits(8, 64)}
    simulation = Simulation({"heavy": HEAVY, "light": LIGHT}, limits=limits)
    simulation.send("heavy", steady(100.0, 0.0, 30.0), None)
    simulation.send("light", simulation.poisson(20.0, 2.0, 30.0), 0.1)
    simulation.run()
    assert in_time(call for call in simulation.calls if call.model == "light") >= 0.99
    assert simulation.answered(5.0, 30.0, "heavy") >= 30.0


@pytest.mark.parametrize("timeout", [None, DEADLINE_SECONDS])
def test_two_saturated_models_share_the_device_time_by_their_weights(timeout: float | None) -> None:
    limits = {"a": LaneLimits(8, 64, weight=3.0), "b": LaneLimits(8, 64, weight=1.0)}
    simulation = Simulation({"a": MODEL, "b": MODEL}, workers=1, limits=limits)
    for model in "ab":
        simulation.send(model, simulation.poisson(400.0, 0.0, 10.0), timeout)
    simulation.run()
    ran = {model: device_seconds(simulation, model, 2.0, 10.0) for model in "ab"}
    assert ran["a"] / (ran["a"] + ran["b"]) == pytest.approx(0.75, abs=0.075)


def device_seconds(simulation: Simulation, model: str, start: float, end: float) -> float:
    batches = [batch for batch in simulation.batches if batch.lane == model and start <= batch.taken_at < end]
    return sum(batch.expected_seconds for batch in batches)


def test_priorities_with_deadlines_share_a_saturated_model_by_their_weights() -> None:
    limits = {"m": LaneLimits(8, 1000, priority_weights=(6.0, 3.0, 1.0))}
    simulation = Simulation({"m": MODEL}, workers=1, limits=limits)
    for priority in Priority:
        simulation.send("m", simulation.poisson(250.0, 0.0, 10.0), DEADLINE_SECONDS, priority)
    simulation.run()
    served = Counter(call.priority for call in simulation.calls if call.in_time and call.sent_at >= 2.0)
    assert [served[priority] / served.total() for priority in Priority] == pytest.approx([0.6, 0.3, 0.1], abs=0.1)


def test_priorities_without_deadlines_share_a_backlog_by_their_weights() -> None:
    limits = {"m": LaneLimits(1, 5000, priority_weights=(6.0, 3.0, 1.0))}
    simulation = Simulation({"m": MODEL}, workers=1, limits=limits)
    for priority in Priority:
        simulation.send("m", [0.0] * 500, None, priority)
    simulation.run()
    served = Counter(call.priority for call in simulation.calls if 1.0 <= call.ended_at < 5.0)
    assert [served[priority] / served.total() for priority in Priority] == pytest.approx([0.6, 0.3, 0.1], abs=0.05)


def test_high_priority_meets_deadlines_under_an_overload_of_normal_calls() -> None:
    simulation = Simulation({"m": MODEL})
    simulation.send("m", simulation.poisson(3 * capacity(), 0.0, 10.0), DEADLINE_SECONDS)
    simulation.send("m", simulation.poisson(20.0, 2.0, 10.0), DEADLINE_SECONDS, HIGH)
    simulation.run()
    assert in_time(call for call in simulation.calls if call.priority is HIGH) >= 0.97


def test_calls_without_deadline_are_served_under_an_overload_of_calls_with_deadlines() -> None:
    simulation = Simulation({"m": MODEL})
    simulation.send("m", simulation.poisson(2 * capacity(), 0.0, 18.0), DEADLINE_SECONDS)
    simulation.send("m", steady(10.0, 2.0, 10.0), None)
    simulation.run()
    endless = [call for call in simulation.calls if call.deadline is None]
    assert in_time(endless) == 1.0
    assert max(call.ended_at - call.sent_at for call in endless) < 8.0


@pytest.mark.parametrize(("short_rate", "least_share"), [(20.0, 0.7), (40.0, 0.8)])
def test_calls_with_short_and_with_long_deadlines_are_both_served_under_overload(
    short_rate: float, least_share: float
) -> None:
    """Calls with short deadlines overtake the others, for which enough capacity is left.

    A timeout of 0.1 s is little more than one full batch beside another; at 20 per second such calls are below the 5 %
    that shorten batches.
    """
    simulation = Simulation({"m": MODEL})
    simulation.send("m", simulation.poisson(short_rate, 0.0, 12.0), 0.1)
    simulation.send("m", simulation.poisson(2 * capacity(), 0.0, 12.0), 2.0)
    simulation.run()
    short = [call for call in simulation.calls if call.sent_at > 5.0 and (call.deadline or 0.0) - call.sent_at < 1.0]
    long = [call for call in simulation.calls if call.sent_at > 5.0 and (call.deadline or 0.0) - call.sent_at > 1.0]
    assert in_time(short) >= least_share
    assert in_time(long) >= 0.25


def test_two_devices_of_different_speed_share_one_queue() -> None:
    simulation = Simulation({"m": MODEL}, workers=1, decoders=8, devices=("fast", "slow"), speeds={"fast": 3.0})
    simulation.send("m", simulation.poisson(8 * capacity(1), 0.0, 6.0), DEADLINE_SECONDS)
    simulation.run()
    assert simulation.goodput(2.0, 6.0) >= 0.9 * 4 * capacity(1)
    runs = Counter(batch.device for batch in simulation.batches)
    assert min(runs["fast"], runs["slow"]) > 20


def test_when_one_of_two_devices_is_lost_every_call_ends_and_the_other_serves() -> None:
    simulation = Simulation({"m": MODEL}, workers=1, decoders=8, devices=("first", "second"))
    simulation.send("m", simulation.poisson(4 * capacity(1), 0.0, 10.0), DEADLINE_SECONDS)
    simulation.lose("first", at=5.0)
    simulation.run()
    assert all(call.outcome for call in simulation.calls)
    assert simulation.goodput(2.0, 4.5) >= 0.9 * 2 * capacity(1)
    assert simulation.goodput(7.0, 10.0) >= 0.9 * capacity(1)
    assert {batch.device for batch in simulation.batches if batch.taken_at > 5.0} == {"second"}


def test_when_the_only_device_is_lost_every_call_ends() -> None:
    simulation = Simulation({"m": MODEL})
    simulation.send("m", simulation.poisson(2 * capacity(), 0.0, 3.0), None)
    simulation.lose("device", at=2.0)
    simulation.run()
    assert all(call.outcome in ("answered", "dropped", "QueueFull", "NoDevice") for call in simulation.calls)
