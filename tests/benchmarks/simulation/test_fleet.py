"""What holds for every simulated fleet, and what balancers, retries and ejection do beside slow and dead replicas."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from benchmarks.simulation.arrivals import poisson
from benchmarks.simulation.balancing import POLICIES
from benchmarks.simulation.calls import Call
from benchmarks.simulation.ejection import Ejection
from benchmarks.simulation.events import Events
from benchmarks.simulation.fleet import Fleet, FleetPlan
from benchmarks.simulation.measurement import Load, capacity, measure
from benchmarks.simulation.replica import Machine, SimulatedModel
from linnaeus.server.scheduling import LaneLimits

BATCHES = {1: 0.01, 2: 0.016, 4: 0.028}
MACHINE = Machine({"m": SimulatedModel(BATCHES, 0.001)}, workers=1, decoders=2, noise=0.0)
MOST_A_SECOND = 4 / BATCHES[4]
SECONDS, DEADLINE_SECONDS = 0.5, 0.1
ROUNDING = 1e-9


def ended_calls(plan: FleetPlan, rate: float, seconds: float = SECONDS, seed: int = 1) -> list[Call]:
    """Returns the calls in the order of their ends."""
    events, chance, ended = Events(), random.Random(seed), list[Call]()
    fleet = Fleet(events, plan, chance, ended.append)
    fleet.send(poisson(chance, rate, 0.0, seconds))
    events.run()
    return ended


@st.composite
def plans(draw: st.DrawFn) -> FleetPlan:
    replicas = draw(st.integers(1, 5))
    slow = draw(st.integers(0, replicas))
    return FleetPlan(
        MACHINE,
        replicas,
        slow=slow,
        dead=draw(st.integers(0, replicas - slow)),
        balancers=draw(st.integers(1, 3)),
        policy=draw(st.sampled_from(sorted(POLICIES))),
        network_seconds=draw(st.sampled_from([0.0, 0.0003, 0.02])),
        deadline_seconds=draw(st.sampled_from([None, DEADLINE_SECONDS])),
        ejection=draw(st.sampled_from([None, Ejection(), Ejection(seconds=0.1, counts_refusals=False)])),
        client_retries=draw(st.booleans()),
        balancer_retries=draw(st.booleans()),
    )


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(plans(), st.sampled_from([0.5, 1.0, 3.0]), st.integers(0, 1000))
def test_every_call_ends_once_and_no_more_are_answered_than_devices_can(
    plan: FleetPlan, load: float, seed: int
) -> None:
    sent_moments = list(poisson(random.Random(seed), load * plan.replicas * 100, 0.0, SECONDS))
    events, ended = Events(), list[Call]()
    fleet = Fleet(events, plan, random.Random(seed), ended.append)
    fleet.send(sent_moments)
    events.run()
    assert sorted(call.sent_at for call in ended) == sent_moments
    assert len(set(map(id, ended))) == len(ended)
    assert {call.outcome for call in ended} <= {
        *("answered", "expired", "dropped", "TooLate", "QueueFull", "Unavailable"),
    }
    answered = [call for call in ended if call.outcome == "answered"]
    last = max((call.ended_at for call in answered), default=0.0)
    assert len(answered) <= plan.replicas * (last + BATCHES[4]) * MOST_A_SECOND
    for call in ended:
        assert call.ended_at - call.sent_at >= 2 * plan.network_seconds - ROUNDING
        assert call.deadline is None or call.ended_at <= call.deadline + 4 * plan.network_seconds + ROUNDING


def test_a_simulation_is_repeatable() -> None:
    plan = FleetPlan(MACHINE, 3, slow=1, balancers=2, deadline_seconds=DEADLINE_SECONDS, balancer_retries=True)
    assert measure(plan, Load(400.0, SECONDS)) == measure(plan, Load(400.0, SECONDS))


def test_an_idle_replica_answers_after_decoding_its_batch_and_the_way_there_and_back() -> None:
    (call,) = ended_calls(FleetPlan(MACHINE, 1, network_seconds=0.002), rate=1.0, seconds=1.0, seed=3)
    assert call.ended_at - call.sent_at == pytest.approx(0.001 + 0.01 + 2 * 0.002)


def test_calls_and_decoding_take_their_time_from_shared_cores() -> None:
    machine = Machine({"m": SimulatedModel({1: 0.01}, 0.003)}, workers=1, decoders=1, noise=0.0)
    machine = replace(machine, call_seconds=0.002, shared_cores=1)
    assert capacity(machine, callers=8) == pytest.approx(1 / 0.015, rel=0.02)


def test_of_two_cores_a_batch_loses_half_of_what_calls_take() -> None:
    machine = Machine({"m": SimulatedModel({1: 0.01})}, workers=1, noise=0.0, call_seconds=0.002, shared_cores=2)
    assert capacity(machine, callers=8) == pytest.approx(1 / 0.011, rel=0.02)


def test_two_batches_at_once_take_twice_as_long_as_one() -> None:
    assert capacity(replace(MACHINE, workers=2)) == pytest.approx(capacity(MACHINE), rel=0.05)


def test_a_slow_replica_takes_so_many_times_longer() -> None:
    fast, slow = capacity(MACHINE), capacity(MACHINE.slower(3.0))
    assert slow == pytest.approx(fast / 3, rel=0.02)


def in_time_share(plan: FleetPlan, load: float = 0.5) -> float:
    found = measure(plan, Load(load * plan.replicas * MOST_A_SECOND, 0.6, 0.2))
    return found.in_time / found.ended


DEAD = FleetPlan(MACHINE, 10, dead=1, deadline_seconds=DEADLINE_SECONDS, client_retries=False)


def test_a_dead_replica_draws_calls_to_itself_the_more_choices_there_are() -> None:
    """It fails at once, so it has no call in flight: of two choices it is one for a fifth of the calls.

    The least of all sends it every call that comes while each of the others has one.
    """
    assert in_time_share(replace(DEAD, policy="least of all"), load=0.9) < 0.6
    assert in_time_share(replace(DEAD, policy="least of 2"), load=0.9) == pytest.approx(0.81, abs=0.06)
    assert in_time_share(replace(DEAD, policy="round robin"), load=0.9) == pytest.approx(0.9, abs=0.02)


def test_one_retry_by_the_balancer_hides_a_dead_replica() -> None:
    assert in_time_share(replace(DEAD, replicas=20, balancer_retries=True)) >= 0.99


def test_an_ejected_replica_fails_no_call_until_it_is_restored() -> None:
    failed = [call.outcome for call in ended_calls(replace(DEAD, ejection=Ejection()), rate=500.0, seconds=2.0)].count(
        "Unavailable"
    )
    assert failed == 5


def test_no_more_than_a_tenth_is_ejected_however_many_fail() -> None:
    plan = FleetPlan(MACHINE, 20, dead=20, policy="round robin", ejection=Ejection(), client_retries=False)
    ended = ended_calls(plan, rate=1000.0)
    late = Counter(call.replica for call in ended if call.sent_at > 0.3)
    assert len(late) == 18


def test_the_client_sends_a_call_again_that_a_full_queue_refused() -> None:
    machine = replace(MACHINE, limits={"m": LaneLimits(1, 1)})
    plan = FleetPlan(machine, 1, deadline_seconds=None)
    with_retries = ended_calls(plan, rate=40.0, seconds=2.0)
    without = ended_calls(replace(plan, client_retries=False), rate=40.0, seconds=2.0)
    refused = [sum(call.outcome == "QueueFull" for call in ended) for ended in (with_retries, without)]
    assert refused[0] < refused[1] / 4
    assert {call.sends for call in without} == {1}
    assert max(call.sends for call in with_retries) > 1
