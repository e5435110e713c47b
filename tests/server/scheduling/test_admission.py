"""Which requests are admitted, which are refused, and with which figures. An image takes 0.1 s."""

from math import inf

import pytest
from builders import TENTH_AN_IMAGE, new_lane, payloads
from state_harness import Harness

from linnaeus.server.scheduling import UNKNOWN_WORK, DecodeWork, NoDevice, Priority, QueueFull, TooLate
from linnaeus.server.scheduling.lanes import Lane

HIGH, NORMAL, LOW = Priority


def test_a_full_lane_refuses_with_the_seconds_until_its_tickets_have_run() -> None:
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


def test_a_request_that_would_be_late_behind_others_is_refused_unless_it_has_no_deadline() -> None:
    harness = Harness()
    for _ in range(8):
        harness.admit(deadline=5.0)
    with pytest.raises(TooLate):
        harness.admit(deadline=5.0, now=4.0)
    harness.admit(now=4.0)


def test_a_request_with_an_earlier_deadline_is_estimated_ahead_of_later_ones() -> None:
    harness = Harness()
    for _ in range(30):
        harness.admit(deadline=20.0)
    # the prediction includes later tickets that fill its batch up to its deadline
    assert harness.admit(deadline=0.5).predicted_at == pytest.approx(0.5)
    alone = Harness()
    assert alone.admit(deadline=0.5).predicted_at == pytest.approx(0.1)


def test_a_lane_without_a_device_left_refuses() -> None:
    harness = Harness()
    harness.batches.remove_device("d", None, 0.0)
    with pytest.raises(NoDevice):
        harness.admit()


def test_decoding_is_estimated_from_what_the_header_says_and_not_from_bytes() -> None:
    harness = Harness()
    assert harness.admit(work=DecodeWork("WEBP", 50_000_000)).decode_seconds == pytest.approx(0.5, rel=0.01)
    with pytest.raises(TooLate):
        harness.admit(work=DecodeWork("WEBP", 50_000_000), deadline=0.55)
    harness.admit(work=DecodeWork("WEBP", 1_000_000), deadline=0.55)


def test_pixels_that_need_no_decoder_are_charged_none() -> None:
    harness = Harness()
    harness.admit(work=DecodeWork("JPEG", 1_000_000))
    harness.decode(seconds=0.5)
    ticket = harness.admit(work=None, deadline=9.0)
    assert ticket.decode_seconds == 0.0
    assert ticket.predicted_at == pytest.approx(0.1 + 0.2)  # behind the first one, in a batch with it


def test_a_slow_device_causes_no_refusal_if_a_free_faster_one_can_meet_the_deadline() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    assert harness.admit(deadline=0.5).predicted_at <= 0.5


def test_a_device_too_slow_for_a_ticket_leaves_it_to_a_faster_one() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    harness.admit("1", deadline=3.0)
    harness.decode()
    slow = harness.form(now=2.5, device="s")  # an image takes 1 s on `s` and 0.1 s on `f`
    assert slow is None or not slow.late
    assert payloads(harness.form(now=2.5, device="f")) == ["1"]


def test_a_slow_device_runs_other_tickets_while_urgent_ones_wait_for_a_faster_one() -> None:
    harness = Harness(unequal_lane(), devices="sf")
    harness.admit("urgent", deadline=3.0, priority=Priority.HIGH)
    harness.admit("endless")
    harness.decode()
    assert payloads(harness.form(now=2.5, device="s")) == ["endless"]
    assert payloads(harness.form(now=2.5, device="f")) == ["urgent"]


def unequal_lane() -> Lane[str]:
    """Returns a lane for a fast device `f`, where an image takes 0.1 s, and a slow one `s`, where it takes 1 s."""
    slow, fast = (new_lane(seconds=seconds, devices="d").tables["d"] for seconds in ({1: 1.0}, TENTH_AN_IMAGE))
    lane = new_lane()
    lane.tables = {"s": slow, "f": fast}
    return lane


def test_another_models_tickets_at_the_decoders_count_only_if_they_are_due_earlier() -> None:
    harness = Harness(new_lane("a"), new_lane("b"))
    for _ in range(2):
        harness.admit(lane=1, work=UNKNOWN_WORK)
        assert harness.state.next_to_decode(0.0, False) is not None
    assert harness.admit(deadline=1.0).predicted_at == pytest.approx(0.1)


def test_timeouts_are_counted_for_refused_requests_that_an_empty_lane_could_answer_in_time() -> None:
    harness = Harness()
    for _ in range(8):
        harness.admit()
    harness.decode()
    assert len(payloads(harness.form())) == 8
    for deadline in (0.5, 0.05):  # the device is busy for 0.8 s; even an empty lane could not answer within 0.05 s
        with pytest.raises(TooLate):
            harness.admit(deadline=deadline)
    assert [timeout for timeout, _ in harness.state.devices["d"].timeouts.up_to_timeout(0.0)] == [0.5, inf]


def use_device(harness: Harness, caller: str, seconds: float, now: float = 0.0) -> None:
    ticket = harness.admit(caller=caller, now=now)
    harness.state.record_run(ticket, seconds, now)
    harness.state.cancel(ticket, False, now)


def test_tickets_of_a_caller_above_its_share_are_due_later_by_the_time_that_its_share_needs_for_the_excess() -> None:
    harness = Harness()
    use_device(harness, "greedy", 0.8)
    use_device(harness, "modest", 0.2)
    # After a second half of it is left: 0.4 and 0.1. One caller more would leave the greedy one 0.2.
    excess_seconds = 0.5 * ((0.4 - 0.05) / 0.2 - 1.0)
    assert harness.admit(caller="greedy", deadline=9.0, now=1.0).due == pytest.approx(9.0 + excess_seconds)
    assert harness.admit(caller="modest", deadline=9.0, now=1.0).due == pytest.approx(9.0)
    assert harness.admit(caller="newcomer", deadline=9.0, now=1.0).due == pytest.approx(9.0)


def test_a_caller_with_more_work_than_many_light_ones_is_within_its_share() -> None:
    harness = Harness()
    for number in range(32):
        use_device(harness, f"light {number}", 0.02)
    for number in range(16):
        use_device(harness, f"heavy {number}", 0.09)
    assert harness.admit(caller="heavy 0", deadline=9.0, now=0.1).due == pytest.approx(9.0)


def test_what_waits_counts_as_use_while_it_waits() -> None:
    harness = Harness()
    use_device(harness, "modest", 0.1)
    flood = [harness.admit(caller="flood", now=0.1 * number) for number in range(8)]  # each takes 0.1 s
    assert flood[0].due == pytest.approx(5.0)
    assert flood[7].due > 5.0 + 0.7 + 0.2
    for ticket in flood:
        harness.state.cancel(ticket, False, 0.7)
    assert harness.admit(caller="flood", now=0.8).due == pytest.approx(5.8)


def test_a_caller_that_occupies_the_decoders_is_above_its_share_although_it_uses_no_device() -> None:
    harness = Harness()
    use_device(harness, "modest", 0.8)
    occupies = harness.admit(caller="occupies", work=DecodeWork("kind", 80_000_000))  # 0.8 s
    excess_seconds = occupies.decode_seconds - 0.05  # nobody else decodes
    assert harness.admit(caller="occupies", deadline=9.0, now=0.1).due == pytest.approx(9.0 + excess_seconds)


def test_until_its_own_deadline_a_ticket_of_a_caller_above_its_share_runs_only_where_no_other_waits() -> None:
    harness = Harness(new_lane("a"), new_lane("b", size=1))
    use_device(harness, "greedy", 0.8)
    use_device(harness, "modest", 0.2)
    harness.state.lanes["a"].flows[NORMAL].used += 5.0  # its fair share would make the other model go first
    harness.admit(caller="modest", lane=0, now=0.1)
    harness.admit(caller="greedy", lane=1, now=0.1)
    assert harness.form(now=0.1).lane == "a"
    harness.admit(caller="modest", lane=0, now=0.1)
    assert harness.form(now=5.2).lane == "b", "without a deadline it yields for as long as an implied one would last"


def test_a_caller_above_its_share_yields_to_others_and_not_to_itself() -> None:
    harness = Harness(new_lane("light"), new_lane("heavy", size=1))
    use_device(harness, "other", 0.2)
    within = harness.admit(caller="greedy", lane=0, now=0.1)
    use_device(harness, "greedy", 0.8, now=0.1)
    above = harness.admit(caller="greedy", lane=1, now=0.2)
    assert within.yields_until < 0.2 < above.yields_until, "only the second is above the share"
    harness.state.lanes["light"].flows[NORMAL].used += 5.0  # by its weight the heavy model goes first
    assert harness.form(now=0.2).lane == "heavy"


def test_a_claim_of_high_priority_counts_as_normal_while_its_caller_is_above_the_share_that_its_weight_gives() -> None:
    harness = Harness(new_lane(priority_weights=(3.0, 1.0, 0.1)))
    use_device(harness, "claims", 0.5)
    use_device(harness, "other", 0.5)
    assert harness.admit(caller="claims", priority=HIGH, deadline=9.0, now=0.1).priority is HIGH
    use_device(harness, "claims", 0.7, now=0.1)
    assert harness.admit(caller="claims", priority=HIGH, deadline=9.0, now=0.2).priority is NORMAL
    assert harness.admit(caller="claims", priority=LOW, deadline=9.0, now=0.2).priority is LOW


def test_alone_a_caller_may_fill_the_queue() -> None:
    harness = Harness(new_lane(max_queue_size=10))
    for _ in range(10):
        harness.admit(caller="only", deadline=2.0)
    assert harness.lanes[0].depth == 10
