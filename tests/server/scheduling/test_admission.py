"""Who is admitted, who is refused, and with which numbers. An image takes a tenth of a second."""

from math import inf

import pytest
from builders import TENTH_AN_IMAGE, new_lane, payloads
from state_harness import Harness

from linnaeus.server.scheduling import NoDevice, Priority, QueueFull, TooLate
from linnaeus.server.scheduling.lanes import Lane

HIGH, NORMAL, LOW = Priority


def test_a_full_lane_refuses_and_says_how_long_what_it_holds_will_take() -> None:
    harness = Harness(new_lane("a", max_queue_size=3), new_lane("b"))
    for _ in range(3):
        harness.admit()
    with pytest.raises(QueueFull) as refusal:
        harness.admit()
    assert refusal.value.held == 3
    assert refusal.value.wait_seconds == pytest.approx(0.3)
    harness.admit(lane=1)


def test_a_deadline_that_has_passed_is_refused() -> None:
    with pytest.raises(TooLate) as refusal:
        Harness().admit(deadline=1.0, now=1.5)
    assert refusal.value.allowed_seconds == pytest.approx(-0.5)


@pytest.mark.parametrize(("deadline", "admitted"), [(0.09, False), (0.11, True)])
def test_a_run_that_cannot_end_in_time_even_alone_is_refused(deadline: float, admitted: bool) -> None:
    harness = Harness()
    if admitted:
        assert harness.admit(deadline=deadline).predicted_at == pytest.approx(0.1)
        return
    with pytest.raises(TooLate) as refusal:
        harness.admit(deadline=deadline)
    assert refusal.value.wait_seconds == pytest.approx(0.1)
    assert refusal.value.allowed_seconds == pytest.approx(deadline)
    assert harness.lanes[0].depth == 0


def test_a_candidate_that_would_be_late_behind_the_others_is_refused_and_one_without_deadline_is_not() -> None:
    harness = Harness()
    for _ in range(8):
        harness.admit(deadline=5.0)
    with pytest.raises(TooLate):
        harness.admit(deadline=5.0, now=4.0)
    harness.admit(now=4.0)


def test_a_candidate_with_an_earlier_deadline_is_admitted_past_the_others() -> None:
    harness = Harness()
    for _ in range(30):
        harness.admit(deadline=20.0)
    assert harness.admit(deadline=0.5).predicted_at == pytest.approx(0.5)  # its batch is filled up to its deadline
    alone = Harness()
    assert alone.admit(deadline=0.5).predicted_at == pytest.approx(0.1)


def test_a_lane_without_a_device_left_refuses() -> None:
    harness = Harness()
    harness.batches.remove_device("d", None, 0.0)
    with pytest.raises(NoDevice):
        harness.admit()


def test_decoding_is_estimated_from_what_it_cost_by_the_byte() -> None:
    harness = Harness()
    harness.admit(size=1000)
    harness.decode(seconds=0.2)
    assert harness.admit(size=500).decode_seconds == pytest.approx(0.1)
    with pytest.raises(TooLate):
        harness.admit(size=4000, deadline=0.7)


def test_a_device_too_slow_for_a_deadline_turns_nobody_away_that_a_free_faster_one_can_serve() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    assert harness.admit(deadline=0.5).predicted_at <= 0.5


def test_a_device_too_slow_for_a_ticket_leaves_it_to_a_faster_one() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    harness.admit("1", deadline=3.0)
    harness.decode()
    slow = harness.form(now=2.5, device="s")  # a run takes a second there and a tenth on the other
    assert slow is None or not slow.late
    assert payloads(harness.form(now=2.5, device="f")) == ["1"]


def test_what_it_leaves_to_a_faster_one_does_not_keep_it_from_what_it_can_do() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    harness.admit("urgent", deadline=3.0, priority=Priority.HIGH)
    harness.admit("endless")
    harness.decode()
    assert payloads(harness.form(now=2.5, device="s")) == ["endless"]
    assert payloads(harness.form(now=2.5, device="f")) == ["urgent"]


def unequal_lane() -> Lane[str]:
    """A lane for a fast device `f` and a slow one `s`, where an image takes a second."""
    slow, fast = (new_lane(seconds=seconds, devices="d").tables["d"] for seconds in ({1: 1.0}, TENTH_AN_IMAGE))
    lane = new_lane()
    lane.tables = {"s": slow, "f": fast}
    return lane


def test_what_another_model_has_at_the_decoders_is_ahead_of_a_candidate_only_if_it_is_due_before_it() -> None:
    harness = Harness(new_lane("a"), new_lane("b"))
    for _ in range(2):
        harness.admit(lane=1)
        assert harness.state.next_to_decode(0.0, False) is not None
    assert harness.admit(deadline=1.0).predicted_at == pytest.approx(0.1)


def test_the_tightest_time_is_learnt_from_whoever_would_be_in_time_alone_admitted_or_not() -> None:
    harness = Harness()
    assert harness.lanes[0].tightest_timeout(0.0) == inf
    for _ in range(8):
        harness.admit()
    harness.decode()
    assert len(payloads(harness.form())) == 8
    for deadline in (0.5, 0.05):  # the device is busy for 0.8 s; nobody could answer in 0.05 s
        with pytest.raises(TooLate):
            harness.admit(deadline=deadline)
    assert harness.lanes[0].tightest_timeout(0.0) == 0.5


def test_a_lane_full_of_low_priority_has_places_for_higher_ones_but_not_the_other_way_round() -> None:
    harness = Harness(new_lane(max_queue_size=3))
    for _ in range(3):
        harness.admit(priority=LOW)
    for priority in (NORMAL, NORMAL, HIGH):
        harness.admit(priority=priority)
    with pytest.raises(QueueFull) as refusal:
        harness.admit(priority=NORMAL)
    assert refusal.value.held == 6
    harness.admit(priority=HIGH)
