"""The sum of the estimate, by hand. An image takes a tenth of a second in all of it, in a batch of any size."""

import pytest
from builders import decoding, new_lane, queued, run, undecoded

from linnaeus.server.scheduling import LatencyTable, Priority
from linnaeus.server.scheduling.completion_estimate import Candidate, backlog_seconds, estimate_completion
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS

HIGH, NORMAL, LOW = Priority


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
    return estimate_completion(candidate, [lane, *others], devices or [Device("d", 2)], now).answer_in_seconds


def filled(lane: Lane[str], tickets: int, due: float = 10.0, priority: Priority = NORMAL) -> Lane[str]:
    for _ in range(tickets):
        queued(lane, "", due, priority)
    return lane


def device(name: str, speed: float = 1.0, workers: int = 1) -> Device[str]:
    made: Device[str] = Device(name, workers)
    made.service_rate.speed = speed
    return made


def test_alone_on_a_free_device_a_candidate_waits_for_its_own_run_only() -> None:
    assert answer(new_lane()) == pytest.approx(0.1)


def test_decoding_comes_on_top() -> None:
    assert answer(new_lane(), decode_seconds=0.03) == pytest.approx(0.13)


def test_those_ahead_are_worked_off_first_and_the_own_batch_is_as_large_as_they_make_it() -> None:
    assert answer(filled(new_lane(), 3)) == pytest.approx(0.3 + 0.4)
    assert answer(filled(new_lane(size=2), 3)) == pytest.approx(0.3 + 0.2)


def test_those_that_are_due_later_do_not_count() -> None:
    lane = filled(new_lane(), 3, due=10.0)
    assert answer(lane, due=9.0) == pytest.approx(0.1)
    assert answer(lane, due=10.0) == pytest.approx(0.3 + 0.4)  # who is due at the same time came first


def test_tickets_that_wait_for_a_decoder_cost_its_time_as_well() -> None:
    lane = filled(new_lane(), 2)
    lane.decode_seconds = 0.05
    undecoded(lane, "", 10.0)
    decoding(lane, "", 10.0)
    assert answer(lane) == pytest.approx(4 * 0.1 + 2 * 0.05 + 0.5)


def test_a_busy_device_is_free_when_its_first_batch_is_expected_to_end() -> None:
    lane, busy = new_lane(), device("d", workers=2)
    run(busy, lane, taken_at=0.0, expected_seconds=1.0)
    run(busy, lane, taken_at=0.0, expected_seconds=3.0)
    assert answer(lane, devices=[busy], now=0.4) == pytest.approx(0.6 + 0.2)


def test_a_batch_that_is_overdue_is_expected_at_any_moment() -> None:
    lane, busy = new_lane(), device("d")
    run(busy, lane, taken_at=0.0, expected_seconds=1.0)
    assert answer(lane, devices=[busy], now=7.0) == pytest.approx(0.1)


def test_with_a_worker_free_nobody_waits_but_the_run_is_longer() -> None:
    lane, busy = new_lane(), device("d", workers=2)
    run(busy, lane, expected_seconds=9.0)
    assert answer(lane, devices=[busy]) == pytest.approx(0.2)


@pytest.mark.parametrize(("speed", "wait"), [(0.5, 0.6), (1.5, 0.2)])
def test_a_device_works_off_what_it_holds_at_the_speed_it_had_lately(speed: float, wait: float) -> None:
    assert answer(filled(new_lane(), 3), devices=[device("d", speed)]) == pytest.approx(wait + 0.4)


def test_a_device_that_came_to_a_halt_makes_no_estimate_infinite() -> None:
    assert answer(filled(new_lane(), 3), devices=[device("d", 0.0)]) < 1000.0


def test_devices_share_the_work_by_their_speed() -> None:
    lane = filled(new_lane(devices="de"), 3)
    assert answer(lane, devices=[device("d"), device("e")]) == pytest.approx(0.3 / 2 + 0.4)
    assert answer(lane, devices=[device("d"), device("e", 2.0)]) == pytest.approx(0.3 / 3 + 0.4)


def test_the_first_device_to_be_free_counts() -> None:
    lane = new_lane(devices="de")
    busy, free = device("d"), device("e")
    run(busy, lane, expected_seconds=5.0)
    assert answer(lane, devices=[busy, free]) == pytest.approx(0.1)


def test_a_less_urgent_model_gets_its_fair_share_before_the_candidate_and_no_more() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 10, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.3 + 0.4)


def test_a_fair_share_goes_by_weights() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b", weight=2.0), 10, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.6 + 0.4)


def test_a_model_takes_no_more_than_it_has_to_do() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 1, due=90.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.1 + 0.4)


def test_a_more_urgent_model_gets_a_moment_above_its_fair_share() -> None:
    lane, other = filled(new_lane("a"), 3), filled(new_lane("b"), 10, due=1.0)
    assert answer(lane, other) == pytest.approx(0.3 + 0.3 + FAIRNESS_SECONDS + 0.4)


def test_a_higher_priority_goes_first_by_its_weight_and_a_lower_one_hardly() -> None:
    lane = filled(new_lane("a"), 3)
    assert answer(lane, filled(new_lane("b"), 10, due=90.0, priority=HIGH)) == pytest.approx(0.3 + 1.0 + 0.4)
    assert answer(lane, filled(new_lane("b"), 10, due=1.0, priority=LOW)) == pytest.approx(0.3 + 0.03 + 0.4)


def test_models_of_other_devices_are_in_nobodys_way() -> None:
    lane, elsewhere = filled(new_lane("a"), 3), filled(new_lane("b", devices="e"), 10, due=1.0)
    assert answer(lane, elsewhere) == pytest.approx(0.3 + 0.4)


def test_the_own_run_is_of_the_candidates_batch() -> None:
    candidate = Candidate(filled(new_lane(), 20).flows[NORMAL], 50.0, 0.0)
    assert estimate_completion(candidate, [], [Device("d", 1)], 0.0).run_seconds == pytest.approx(0.8)


def test_a_batch_that_others_may_fill_runs_longer_by_as_much() -> None:
    lane = filled(filled(new_lane(), 2, due=10.0), 3, due=60.0)
    estimate = estimate_completion(Candidate(lane.flows[NORMAL], 50.0, 0.0), [lane], [Device("d", 1)], 0.0)
    assert (estimate.run_seconds, estimate.fill_seconds) == pytest.approx((0.3, 0.3))


def test_the_fastest_device_tells_how_long_the_own_run_takes() -> None:
    lane = filled(new_lane(devices="de"), 2)
    lane.tables["e"] = LatencyTable({1: 0.01, 8: 0.08})
    estimate = estimate_completion(Candidate(lane.flows[NORMAL], 5.0, 0.0), [lane], [device("d"), device("e")], 0.0)
    assert (estimate.run_seconds, estimate.fill_seconds) == pytest.approx((0.01, 0.02))


def test_working_off_counts_all_that_a_lane_holds_of_every_class() -> None:
    lane = filled(filled(new_lane(devices="de"), 3), 5, priority=LOW)
    assert backlog_seconds(lane, [device("d")]) == pytest.approx(0.8)
    assert backlog_seconds(lane, [device("d"), device("e")]) == pytest.approx(0.4)
