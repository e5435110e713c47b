"""The simulation agrees with what queueing theory says of settings simple enough for it, with fixed seeds."""

import random

import pytest

from benchmarks.simulation.arrivals import poisson
from benchmarks.simulation.events import Events
from benchmarks.simulation.fleet import Fleet, FleetPlan
from benchmarks.simulation.replica import Machine, SimulatedModel
from linnaeus.server.scheduling import LaneLimits

SERVICE_SECONDS = 0.01


def exponential(chance: random.Random) -> float:
    return chance.expovariate(1.0)


def constant(chance: random.Random) -> float:
    return 1.0


def one_by_one(factor: object, devices: int = 1) -> Machine:
    """Returns a server that runs one image at a time on each of its devices, in the order of their arrival."""
    names = tuple(f"device {number}" for number in range(devices))
    model = SimulatedModel({1: SERVICE_SECONDS})
    limits = {"m": LaneLimits(1, 10**6)}
    return Machine({"m": model}, workers=1, devices=names, limits=limits, run_factor=factor)  # type: ignore[arg-type]


def mean_seconds(plan: FleetPlan, utilization: float, calls: int, servers: int = 1, seed: int = 1) -> float:
    """Returns the mean time from sending to the answer, of the calls after the first tenth."""
    events, chance, seconds = Events(), random.Random(seed), list[float]()
    fleet = Fleet(events, plan, chance, lambda call: seconds.append(call.ended_at - call.sent_at))
    rate = utilization * servers / SERVICE_SECONDS
    fleet.send(poisson(chance, rate, 0.0, calls / rate))
    events.run()
    counted = seconds[len(seconds) // 10 :]
    return sum(counted) / len(counted)


def erlang_c(servers: int, offered: float) -> float:
    """Returns the probability that a call of M/M/c waits."""
    term, total = 1.0, 1.0
    for number in range(1, servers):
        term *= offered / number
        total += term
    last = term * offered / servers * servers / (servers - offered)
    return last / (total + last)


def test_one_server_with_exponential_times_is_m_m_1() -> None:
    plan = FleetPlan(one_by_one(exponential), 1, deadline_seconds=None)
    assert mean_seconds(plan, 0.6, 6000) == pytest.approx(SERVICE_SECONDS / (1 - 0.6), rel=0.08)


@pytest.mark.parametrize("utilization", [0.5, 0.7])
def test_one_server_with_constant_times_is_m_d_1(utilization: float) -> None:
    plan = FleetPlan(one_by_one(constant), 1, deadline_seconds=None)
    expected = SERVICE_SECONDS * (1 + utilization / (2 * (1 - utilization)))
    assert mean_seconds(plan, utilization, 3000) == pytest.approx(expected, rel=0.08)


def test_one_queue_for_two_devices_is_m_m_2() -> None:
    plan = FleetPlan(one_by_one(exponential, devices=2), 1, deadline_seconds=None)
    expected = SERVICE_SECONDS * (1 + erlang_c(2, 1.4) / (2 - 1.4))
    assert mean_seconds(plan, 0.7, 5000, servers=2) == pytest.approx(expected, rel=0.08)


def test_a_random_choice_makes_each_replica_m_m_1() -> None:
    plan = FleetPlan(one_by_one(exponential), 20, policy="random", deadline_seconds=None)
    assert mean_seconds(plan, 0.6, 6000, servers=20) == pytest.approx(SERVICE_SECONDS / (1 - 0.6), rel=0.1)


def test_two_choices_wait_as_mitzenmacher_computed() -> None:
    """For many replicas the mean is the sum of `utilization ** (2 ** i - 2)` service times, i from 1."""
    plan = FleetPlan(one_by_one(exponential), 50, policy="least of 2", deadline_seconds=None)
    expected = SERVICE_SECONDS * sum(0.7 ** (2**number - 2) for number in range(1, 12))
    assert mean_seconds(plan, 0.7, 7000, servers=50) == pytest.approx(expected, rel=0.06)
