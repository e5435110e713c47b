"""What each balancing policy promises, whatever was sent, ended, ejected and restored before."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.simulation.balancing import POLICIES, LeastOfAll, LeastOfChoices, RoundRobin

REPLICAS = 4
STEPS = st.lists(st.tuples(st.sampled_from(["send", "end", "eject", "restore"]), st.integers(0, 20)), max_size=60)


@pytest.mark.parametrize("name", POLICIES)
@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1000))
def test_no_policy_picks_an_ejected_replica_and_the_least_of_all_has_the_fewest(
    name: str, steps: list[tuple[str, int]], seed: int
) -> None:
    policy = POLICIES[name](random.Random(seed), REPLICAS)
    in_flight, ejected = Counter[int](), set[int]()
    for what, number in steps:
        replica = number % REPLICAS
        if what == "end" and (busy := sorted(in_flight.elements())):
            replica = busy[number % len(busy)]
            policy.ended(replica)
            in_flight[replica] -= 1
        elif what == "eject" and replica not in ejected and len(ejected) < REPLICAS - 1:
            policy.eject(replica)
            ejected.add(replica)
        elif what == "restore" and replica in ejected:
            policy.restore(replica)
            ejected.remove(replica)
        elif what == "send":
            picked, left = policy.pick(), [each for each in range(REPLICAS) if each not in ejected]
            assert picked in left
            if name == "least of all":
                assert in_flight[picked] == min(in_flight[each] for each in left)
            policy.began(picked)
            in_flight[picked] += 1
            assert len(left) == 1 or policy.pick(other_than=picked) in [each for each in left if each != picked]


def test_round_robin_takes_every_replica_once_a_turn() -> None:
    policy = RoundRobin(random.Random(1), REPLICAS)
    picked = [policy.pick() for _ in range(3 * REPLICAS)]
    assert [Counter(picked[start : start + REPLICAS]) for start in (0, 4, 8)] == [Counter(range(REPLICAS))] * 3


def test_two_choices_leave_the_busiest_of_all_to_its_own_requests() -> None:
    policy = LeastOfChoices(random.Random(1), 2)
    for _ in range(5):
        policy.began(0)
    picked = Counter(policy.pick() for _ in range(4000))
    assert picked[0] / 4000 == pytest.approx(0.25, abs=0.03)  # drawn twice


def test_of_equals_the_least_of_all_takes_any() -> None:
    policy = LeastOfAll(random.Random(1), REPLICAS)
    assert {policy.pick() for _ in range(100)} == set(range(REPLICAS))
