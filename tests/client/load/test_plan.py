"""The options of a load test, and the arrival times that follow from them."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client.load.generator.arrivals import arrival_times
from linnaeus.client.load.generator.generator_process import share_of
from linnaeus.client.load.plan import Plan, expand_pictures

PLAN = Plan(target="localhost:8001", pictures=(Path("cat.jpg"),), rate=100.0)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"target": ""}, "the target is empty"),
        ({"pictures": ()}, "no picture to send"),
        ({"rate": None}, "either a rate"),
        ({"concurrency": 4}, "not both"),
        ({"rate": 0.0}, "rate is 0.0"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"rate": None, "concurrency": 0}, "concurrency is 0"),
        ({"arrivals": "bursts"}, "poisson, constant"),
        ({"duration_seconds": 0.0}, "duration_seconds is 0.0"),
        ({"duration_seconds": float("inf")}, "duration_seconds is inf"),
        ({"warmup_seconds": -1.0}, "warmup_seconds is -1.0"),
        ({"deadline_seconds": -1.0}, "deadline_seconds is -1.0"),
        ({"cancel_rate": 1.5}, "cancel_rate is 1.5"),
        ({"corrupt_rate": -0.1}, "corrupt_rate is -0.1"),
        ({"corrupt_rate": 0.6, "cancel_rate": 0.6}, "together exceed 1"),
        ({"rpc": "stream", "cancel_rate": 0.1}, "cannot be cancelled"),
        ({"priority": "urgent"}, "low, normal, high"),
        ({"rpc": "unaryy"}, "unary, batch, stream"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"connections": -1}, "connections is -1"),
        ({"processes": -1}, "processes is -1"),
        ({"max_in_flight": 0}, "max_in_flight is 0"),
    ],
)
def test_an_invalid_plan_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        replace(PLAN, **change)
    assert "\n" not in str(caught.value)


def test_a_plan_can_be_pickled():
    assert pickle.loads(pickle.dumps(PLAN)) == PLAN


def test_there_are_never_more_processes_than_callers():
    assert replace(PLAN, rate=None, concurrency=3, processes=8).process_count == 3
    assert replace(PLAN, processes=8).process_count == 8
    assert PLAN.process_count >= 1


@given(st.integers(0, 10_000), st.integers(1, 64))
def test_shares_add_up_to_the_total(total, processes):
    shares = [share_of(total, index, processes) for index in range(processes)]
    assert sum(shares) == total
    assert max(shares) - min(shares) <= 1


def test_folders_are_expanded_into_their_images_in_order(tmp_path):
    (tmp_path / "deeper").mkdir()
    for name in ("b.jpg", "a.PNG", "notes.txt", "deeper/c.webp"):
        (tmp_path / name).write_bytes(b"x")
    named = tmp_path / "notes.txt"
    found = expand_pictures([tmp_path, named])
    assert [each.relative_to(tmp_path).as_posix() for each in found] == ["a.PNG", "b.jpg", "deeper/c.webp", "notes.txt"]


def test_a_folder_without_images_or_a_path_to_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no picture"):
        expand_pictures([tmp_path])
    with pytest.raises(ValueError, match="neither a file nor a folder"):
        expand_pictures([tmp_path / "gone.jpg"])
    with pytest.raises(ValueError, match="no picture to send"):
        expand_pictures([])


@settings(deadline=None, max_examples=50)
@given(st.floats(1, 500), st.integers(1, 5), st.sampled_from(["poisson", "constant"]), st.integers(1, 5))
def test_processes_together_send_at_the_plans_rate(rate, processes, arrivals, seed):
    plan = replace(PLAN, rate=rate, arrivals=arrivals, seed=seed, duration_seconds=20.0, warmup_seconds=2.0)
    shares = [list(arrival_times(plan, index, processes)) for index in range(processes)]
    times = sorted(time for share in shares for time in share)
    assert all(share == sorted(share) for share in shares)
    assert all(-2.0 <= time < 20.0 for time in times)
    # Five standard deviations of a Poisson count; constant arrivals miss by at most one.
    slack = 1 + (5 * (22 * rate) ** 0.5 if arrivals == "poisson" else 0)
    assert abs(len(times) - 22 * rate) <= slack
    if arrivals == "constant":
        assert times == pytest.approx([step / rate - 2.0 for step in range(len(times))])


def test_the_same_seed_gives_the_same_arrivals_and_another_seed_others():
    times = list(arrival_times(PLAN, 0, 2))
    assert times == list(arrival_times(PLAN, 0, 2))
    assert times != list(arrival_times(PLAN, 1, 2))
    assert times != list(arrival_times(replace(PLAN, seed=2), 0, 2))


def test_poisson_gaps_have_the_expected_deviation():
    plan = replace(PLAN, rate=200.0, duration_seconds=100.0)
    times = list(arrival_times(plan, 0, 1))
    gaps = [after - before for before, after in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.05)


def test_a_batch_plan_spreads_its_images_over_fewer_messages():
    plan = replace(PLAN, rpc="batch", batch_size=4, arrivals="constant", rate=40.0, duration_seconds=1.0)
    assert len([time for time in arrival_times(plan, 0, 1) if time >= 0]) == 10


def test_a_result_does_not_hold_the_token():
    plan = replace(PLAN, token="SECRET")
    assert "SECRET" not in f"{plan}{plan.options()}" and plan.options()["rate"] == 100.0
    assert pickle.loads(pickle.dumps(plan)).metadata == (("authorization", "Bearer SECRET"),)


@pytest.mark.parametrize(
    ("change", "connections"),
    [
        ({}, 4),
        ({"max_in_flight": 100}, 1),
        ({"rate": None, "concurrency": 1025}, 2),
        ({"connections": 7}, 7),
    ],
)
def test_connections_suffice_for_the_calls_in_flight(change, connections):
    assert replace(PLAN, **({"connections": 0} | change)).connection_count == connections


@pytest.mark.parametrize(
    ("change", "told", "connections"),
    [
        ({"rate": None, "concurrency": 64}, 8, 8),
        ({"rate": None, "concurrency": 64}, 1, 1),
        ({"rate": None, "concurrency": 5}, 8, 5),
        ({}, 8, 8),
        ({}, 2, 4),
        ({"rate": None, "concurrency": 64, "processes": 3}, 2, 3),
        ({"connections": 7}, 8, 7),
    ],
)
def test_the_server_tells_how_many_connections_unless_that_is_too_few_or_more_than_calls(change, told, connections):
    plan = replace(PLAN, **({"connections": 0, "processes": 1} | change)).with_server_connections(told)
    assert (plan.connections, plan.connection_count) == (connections, connections)
    assert plan.options()["connections"] == connections
