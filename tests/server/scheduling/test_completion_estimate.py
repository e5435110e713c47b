"""The terms of the estimate, computed by hand. An image takes 0.1 s in a batch of any size."""

import pytest
from builders import decoding, new_lane, queued, run, undecoded

from linnaeus.server.scheduling import LatencyTable, Priority
from linnaeus.server.scheduling.completion_estimate import Candidate, CompletionEstimate, CompletionEstimator
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS

HIGH, NORMAL, LOW = Priority
DECODERS = 2


def answer(
    lane: Lane[str],
    *others: Lane[str],
    devices: list[Device[str]] | None = None,
    due: float = 50.0,
    priority: Priority = NORMAL,
    decode_seconds: float = 0.0,
    now: float = 0.0,
) -> float:
    candidate = Candidate(lane.flows[priority], due, decode_seconds)
    return estimate(candidate, *others, devices=devices or [Device("d", 2)], now=now).answer_seconds


def estimate(
    candidate: Candidate[str], *others: Lane[str], devices: list[Device[str]], now: float = 0.0
) -> CompletionEstimate:
    return estimator(candidate.flow.lane, *others).estimate(candidate, devices, now)


def estimator(*lanes: Lane[str]) -> CompletionEstimator[str]:
    return CompletionEstimator({lane.name: lane for lane in lanes}, DECODERS)


def filled(lane: Lane[str], tickets: int, due: float = 10.0, priority: Priority = NORMAL) -> Lane[str]:
    for _ in range(tickets):
        queued(lane, "", due, priority)
    return lane


def device(name: str, workers: int = 1) -> Device[str]:
    return Device(name, workers)


def test_on_an_empty_free_device_the_estimate_is_the_own_run() -> None:
    assert answer(new_lane()) == pytest.approx(0.1)


def test_the_estimate_includes_decoding() -> None:
    assert answer(new_lane(), decode_seconds=0.03) == pytest.approx(0.13)
    assert answer(filled(new_lane(), 3), decode_seconds=0.03) == pytest.approx(0.3 + 0.03 / DECODERS + 0.4)


def test_an_image_takes_one_decoder_for_all_of_its_decoding() -> None:
    assert estimate(
        Candidate(new_lane().flows[NORMAL], 50.0, 2.0), devices=[device("d")]
    ).shortest_seconds == pytest.approx(2.1)


def test_tickets_ahead_add_their_work_and_enlarge_the_own_batch() -> None:
    assert answer(filled(new_lane(), 3)) == pytest.approx(0.3 + 0.4)
    assert answer(filled(new_lane(size=2), 3)) == pytest.approx(0.3 + 0.2)


def test_tickets_due_later_do_not_count() -> None:
    lane = filled(new_lane(), 3, due=10.0)
    assert answer(lane, due=9.0) == pytest.approx(0.1)
    assert answer(lane, due=10.0) == pytest.approx(0.3 + 0.4)  # a ticket due at the same time was admitted first


def test_undecoded_tickets_ahead_add_their_decoding() -> None:
    lane = filled(new_lane(), 2)
    undecoded(lane, "", 10.0, decode_seconds=0.04)
    decoding(lane, "", 10.0, decode_seconds=0.06)
    assert answer(lane) == pytest.approx(4 * 0.1 + 0.1 / DECODERS + 0.5)


def test_of_undecoded_tickets_only_the_share_that_is_due_earlier_adds_its_decoding() -> None:
    lane = new_lane()
    for due in (10.0, 60.0):
        undecoded(lane, "", due, decode_seconds=0.1)
    assert answer(lane) == pytest.approx(0.1 + 0.1 / DECODERS + 0.2)


def test_a_busy_device_is_free_when_its_first_batch_is_expected_to_end() -> None:
    lane, busy = new_lane(), device("d", workers=2)
    run(busy, lane, taken_at=0.0, expected_seconds=1.0)
    run(busy, lane, taken_at=0.0, expected_seconds=3.0)
    assert answer(lane, devices=[busy], now=0.4) == pytest.approx(0.6 + 0.2)


def test_a_batch_that_is_overdue_is_expected_at_any_moment() -> None:
    lane, busy = new_lane(), device("d")
    run(busy, lane, taken_at=0.0, expected_seconds=1.0)
    assert answer(lane, devices=[busy], now=7.0) == pytest.approx(0.1)


def test_with_a_free_worker_the_candidate_does_not_wait_but_its_run_is_longer() -> None:
    lane, busy = new_lane(), device("d", workers=2)
    run(busy, lane, expected_seconds=9.0)
    assert answer(lane, devices=[busy]) == pytest.approx(0.2)


def test_devices_share_the_work_by_their_speed() -> None:
    lane = filled(new_lane(devices="de"), 3)
    assert answer(lane, devices=[device("d"), device("e")]) == pytest.approx(0.3 / 2 + 0.4)
    lane.tables["e"] = LatencyTable({1: 0.05, 8: 0.4})
    assert answer(lane, devices=[device("d"), device("e")]) == pytest.approx(0.3 / 3 + 0.2)


def test_the_first_device_to_be_free_counts() -> None:
    lane = new_lane(devices="de")
    busy, free = device("d"), device("e")
    run(busy, lane, expected_seconds=5.0)
    assert answer(lane, devices=[busy, free]) == pytest.approx(0.1)


def test_a_less_urgent_model_adds_exactly_its_fair_share() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 10, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.3 + 0.4)


def test_the_fair_share_is_proportional_to_the_weight() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b", weight=2.0), 10, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.6 + 0.4)


def test_another_model_adds_at_most_its_own_work() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 1, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.1 + 0.4)


def test_a_more_urgent_model_adds_at_most_the_fairness_tolerance_above_its_fair_share() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 10, due=1.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.3 + FAIRNESS_SECONDS + 0.4)


def test_a_higher_priority_adds_its_weighted_share_and_a_lower_one_little() -> None:
    lane = filled(new_lane("a"), 3)
    assert answer(lane, filled(new_lane("b"), 10, due=90.0, priority=HIGH)) == pytest.approx(0.3 + 1.0 + 0.4)
    assert answer(lane, filled(new_lane("b"), 10, due=1.0, priority=LOW)) == pytest.approx(0.3 + 0.03 + 0.4)


def test_models_of_other_devices_do_not_count() -> None:
    lane, elsewhere = filled(new_lane("a"), 3), filled(new_lane("b", devices="e"), 10, due=1.0)
    assert answer(lane, elsewhere) == pytest.approx(0.3 + 0.4)


def test_the_own_run_is_limited_by_the_maximum_batch_size() -> None:
    candidate = Candidate(filled(new_lane(), 20).flows[NORMAL], 50.0, 0.0)
    assert estimate(candidate, devices=[device("d")]).shortest_seconds == pytest.approx(0.8)


def test_fill_seconds_is_the_extra_run_time_if_later_tickets_join() -> None:
    lane = filled(filled(new_lane(), 2, due=10.0), 3, due=60.0)
    made = estimate(Candidate(lane.flows[NORMAL], 50.0, 0.0), devices=[device("d")])
    assert (made.shortest_seconds, made.fill_seconds) == pytest.approx((0.3, 0.3))


def test_the_own_run_is_estimated_on_the_fastest_device() -> None:
    lane = filled(new_lane(devices="de"), 2)
    lane.tables["e"] = LatencyTable({1: 0.01, 8: 0.08})
    made = estimate(Candidate(lane.flows[NORMAL], 5.0, 0.0), devices=[device("d"), device("e")])
    assert (made.shortest_seconds, made.fill_seconds) == pytest.approx((0.01, 0.02))


def test_the_backlog_counts_tickets_of_every_priority() -> None:
    lane = filled(filled(new_lane(devices="de"), 3), 5, priority=LOW)
    assert estimator(lane).backlog_seconds(lane, [device("d")], 0.0) == pytest.approx(0.8)
    assert estimator(lane).backlog_seconds(lane, [device("d"), device("e")], 0.0) == pytest.approx(0.4)


def test_the_decoding_of_tickets_that_are_due_later_is_not_before_the_candidate() -> None:
    lane = new_lane()
    undecoded(lane, "quick", 1.0, decode_seconds=0.02)
    for _ in range(5):
        undecoded(lane, "huge", 99.0, decode_seconds=2.0)
    assert answer(lane, due=50.0) == pytest.approx(0.1 + 0.02 / DECODERS + 0.2)


def test_a_lane_of_one_instance_waits_for_its_own_batch_though_a_worker_is_free() -> None:
    two = device("d", workers=2)
    single, free, other = new_lane("single", instances=1), new_lane("free"), new_lane("other")
    run(two, single, expected_seconds=3.0)
    assert answer(single, devices=[two], now=1.0) == pytest.approx(2.0 + 0.1)  # nothing runs beside it then
    assert answer(free, devices=[two], now=1.0) == pytest.approx(0.2)
    run(two, other, expected_seconds=1.5)
    assert answer(single, devices=[two], now=1.0) == pytest.approx(2.0 + 0.2)
    assert answer(free, devices=[two], now=1.0) == pytest.approx(0.5 + 0.2)


def test_a_device_runs_no_more_of_one_lane_than_it_may_and_leaves_a_worker_to_others() -> None:
    three = Device[str]("d", 3, of_one_lane=2)
    large, small = new_lane("large"), new_lane("small")
    for _ in range(2):
        assert not three.runs_all_of(large)
        run(three, large, expected_seconds=3.0)
    assert three.runs_all_of(large) and not three.runs_all_of(small)
    assert answer(large, devices=[three], now=1.0) == pytest.approx(2.0 + 0.2)
    assert answer(small, devices=[three], now=1.0) == pytest.approx(0.3)


def test_work_before_the_candidate_is_taken_at_the_pace_of_the_last_second() -> None:
    lane = filled(new_lane(), 10)
    lane.tables["d"] = LatencyTable({1: 0.1, 10: 1.0})
    before = answer(lane, now=1.0)
    for _ in range(4):
        lane.tables["d"].observe(1, 0, 0.2, 1.0)
    assert answer(lane, now=1.0) == pytest.approx(2 * before, rel=0.01)
    assert estimator(lane).backlog_seconds(lane, [device("d")], 1.0) == pytest.approx(2.0, rel=0.01)
