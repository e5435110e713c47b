"""The rules of the scheduling policy, in the order of its docstring. An image takes 0.1 s."""

from math import inf

import pytest
from builders import decoding, late_payloads, new_lane, payloads, queued, run, undecoded

from linnaeus.server.scheduling import Priority
from linnaeus.server.scheduling.lanes import Device, Lane
from linnaeus.server.scheduling.policy import FAIRNESS_SECONDS, BatchPlan, Policy

HIGH, NORMAL, LOW = Priority


class Harness:
    """A policy, its lanes and one device, free unless the test starts a batch on it."""

    def __init__(self, *lanes: Lane[str], workers: int = 2) -> None:
        self.policy: Policy[str] = Policy({lane.name: lane for lane in lanes})
        self.device: Device[str] = Device("d", workers)
        self.devices = {"d": self.device}

    def ask(self, timeout: float | None, times: int = 1) -> None:
        """Counts requests that come at the time 0."""
        for _ in range(times):
            self.device.timeouts.add(timeout, now=0.0)

    def form(self, now: float = 0.0, draining: bool = False) -> BatchPlan[str] | None:
        return self.policy.plan_batch(self.device, now, draining)

    def wait_seconds(self, now: float = 0.0) -> float | None:
        return self.policy.wait_seconds(self.device, now)


# 1. Order.


def test_of_two_models_the_earliest_deadline_goes_first() -> None:
    first, second = new_lane("a"), new_lane("b")
    queued(first, "later", 2.0)
    queued(second, "sooner", 1.0)
    assert payloads(Harness(first, second).form()) == ["sooner"]


def test_a_higher_priority_goes_before_an_earlier_deadline() -> None:
    first, second = new_lane("a"), new_lane("b")
    queued(first, "high", 9.0, HIGH)
    queued(second, "normal", 1.0, NORMAL)
    assert payloads(Harness(first, second).form()) == ["high"]


@pytest.mark.parametrize(("above_fair_share", "first"), [(0.9, "high"), (1.1, "low")])
def test_a_flow_above_its_fair_share_and_tolerance_goes_last_however_urgent(
    above_fair_share: float, first: str
) -> None:
    urgent, patient = new_lane("a"), new_lane("b")
    queued(urgent, "high", 1.0, HIGH)
    queued(patient, "low", None, LOW)
    # `used` is divided by the weight; the tolerance is in device seconds.
    urgent.flows[HIGH].used = 50.0 + above_fair_share * FAIRNESS_SECONDS / urgent.flows[HIGH].weight
    patient.flows[LOW].used = 50.0
    assert payloads(Harness(urgent, patient).form()) == [first]


def test_priorities_of_one_model_have_fair_shares_too() -> None:
    lane = new_lane(size=1)
    queued(lane, "high", 1.0, HIGH)
    queued(lane, "low", 2.0, LOW)
    lane.flows[HIGH].used = 1.0
    assert payloads(Harness(lane).form()) == ["low"]


def test_tickets_without_deadline_are_ordered_by_their_implied_deadline() -> None:
    first, second = new_lane("a"), new_lane("b")
    queued(first, "endless", None, admitted_at=0.0)
    queued(second, "deadline", 5.5)
    assert payloads(Harness(first, second).form()) == ["endless"]


def test_only_models_that_the_device_may_run_are_considered() -> None:
    elsewhere, here = new_lane("a", devices="e"), new_lane("b")
    queued(elsewhere, "sooner", 1.0)
    queued(here, "later", 2.0)
    assert payloads(Harness(elsewhere, here).form()) == ["later"]


# 2. Batch contents.


def test_a_batch_takes_the_earliest_deadlines_in_their_order_up_to_the_limit() -> None:
    lane = new_lane(size=3)
    for name, deadline in (("4", 4.0), ("2", 2.0), ("endless", None), ("1", 1.0), ("3", 3.0)):
        queued(lane, name, deadline)
    assert payloads(Harness(lane).form()) == ["1", "2", "3"]


def test_a_batch_is_of_one_model() -> None:
    first, second = new_lane("a"), new_lane("b")
    queued(first, "a", 1.0)
    queued(second, "b", 1.1)
    assert payloads(Harness(first, second).form()) == ["a"]


def test_free_places_in_a_batch_go_to_the_models_other_classes_by_priority_and_deadline() -> None:
    lane = new_lane(size=5)
    queued(lane, "normal", 8.0, NORMAL)
    queued(lane, "high 2", 7.0, HIGH)
    queued(lane, "high 1", 6.0, HIGH)
    queued(lane, "low 2", 5.0, LOW)
    queued(lane, "low 1", 4.0, LOW)
    lane.flows[HIGH].used = lane.flows[LOW].used = 1.0
    assert payloads(Harness(lane).form()) == ["normal", "high 1", "high 2", "low 1", "low 2"]


@pytest.mark.parametrize(("deadline", "images"), [(0.15, 1), (0.35, 3), (0.55, 5), (5.0, 8)])
def test_a_batch_is_as_large_as_the_earliest_deadline_in_it_allows(deadline: float, images: int) -> None:
    lane = new_lane()
    queued(lane, "first", deadline)
    for number in range(9):
        queued(lane, str(number), 10.0)
    assert len(payloads(Harness(lane).form())) == images


def test_concurrent_batches_reduce_the_batch_size_that_a_deadline_allows() -> None:
    other, lane = new_lane("b"), new_lane("a")
    for number in range(8):
        queued(lane, str(number), 0.85)
    harness = Harness(other, lane)
    run(harness.device, other)
    assert len(payloads(harness.form())) == 4


def test_a_ticket_of_another_class_joins_only_if_its_own_deadline_holds() -> None:
    lane = new_lane()
    queued(lane, "high", 9.0, HIGH)
    queued(lane, "high", 9.0, HIGH)
    queued(lane, "tight", 0.15, LOW)
    assert payloads(Harness(lane).form()) == ["high", "high"]


@pytest.mark.parametrize(("now", "late"), [(0.89, False), (0.91, True), (1.0, True), (1.5, True)])
def test_a_ticket_that_would_be_late_even_alone_is_dropped_instead_of_run(now: float, late: bool) -> None:
    lane = new_lane()
    queued(lane, "1", 1.0)
    formed = Harness(lane).form(now)
    assert (payloads(formed), late_payloads(formed)) == (([], ["1"]) if late else (["1"], []))


def test_late_tickets_take_no_place_in_the_batch() -> None:
    lane = new_lane(size=2)
    for name, deadline in (("dead", 0.5), ("hopeless", 1.05), ("good", 3.0), ("better", 4.0), ("next", 5.0)):
        queued(lane, name, deadline)
    formed = Harness(lane).form(now=1.0)
    assert payloads(formed) == ["good", "better"]
    assert late_payloads(formed) == ["dead", "hopeless"]


# 3. Batch size limit.


@pytest.mark.parametrize(("tightest", "images"), [(1.1, 5), (0.5, 2), (0.05, 1), (100.0, 8)])
def test_no_batch_takes_longer_than_half_of_the_time_that_requests_give(tightest: float, images: int) -> None:
    lane = new_lane()
    harness = Harness(lane)
    harness.ask(tightest)
    for number in range(8):
        queued(lane, str(number))
    assert len(payloads(harness.form())) == images


@pytest.mark.parametrize("order", [(0.5, 2.0), (2.0, 0.5), (2.0, 0.5, 2.0)])
def test_the_tightest_of_several_timeouts_counts(order: tuple[float, ...]) -> None:
    lane = new_lane()
    harness = Harness(lane)
    for timeout in order:
        harness.ask(timeout)
    for number in range(8):
        queued(lane, str(number))
    assert len(payloads(harness.form())) == 2


@pytest.mark.parametrize(("ordinary", "images"), [(40, 8), (10, 2)])
def test_a_rare_very_short_timeout_makes_no_batch_smaller(ordinary: int, images: int) -> None:
    lane = new_lane()
    harness = Harness(lane)
    harness.ask(0.5)
    harness.ask(None, ordinary)
    for number in range(8):
        queued(lane, str(number))
    assert len(payloads(harness.form())) == images


# Batches of 64 do 128 images a second, of 32 107, of 16 80, of 8 53.
LARGE_BATCHES = {1: 0.108, 8: 0.15, 16: 0.2, 32: 0.3, 64: 0.5}


@pytest.mark.parametrize(("rate", "images"), [(1, 60), (14, 40), (40, 19), (10_000, 12)])
def test_batches_are_shortened_only_for_more_requests_than_it_costs_images_and_to_half_the_throughput_at_most(
    rate: int, images: int
) -> None:
    lane = new_lane(seconds=LARGE_BATCHES, size=64)
    harness = Harness(lane)
    harness.ask(0.25, rate // 2 or 1)  # counted over half a second
    for number in range(64):
        queued(lane, str(number), 1000.0)
    assert len(payloads(harness.form())) == pytest.approx(images, abs=3)


def test_timeouts_are_forgotten_after_a_second() -> None:
    lane = new_lane()
    harness = Harness(lane)
    harness.ask(0.2)
    for number in range(8):
        queued(lane, str(number), 100.0)
    assert len(payloads(harness.form(now=0.9))) == 1
    assert len(payloads(harness.form(now=1.1))) == 8


# 4. Start time.


def test_a_free_device_starts_a_batch_at_once() -> None:
    lane = new_lane()
    queued(lane, "1")
    harness = Harness(lane)
    assert harness.wait_seconds() == 0.0
    assert payloads(harness.form()) == ["1"]


def test_without_decoded_tickets_no_batch_is_due() -> None:
    lane = new_lane()
    undecoded(lane, "1")
    harness = Harness(lane)
    assert harness.wait_seconds() is None
    assert harness.form() is None


def test_while_a_batch_of_the_model_runs_another_starts_only_when_full() -> None:
    lane = new_lane(size=2)
    harness = Harness(lane)
    run(harness.device, lane)
    queued(lane, "1")
    assert harness.form() is None and harness.wait_seconds() is None
    queued(lane, "2")
    assert harness.wait_seconds() == 0.0
    assert payloads(harness.form()) == ["1", "2"]


def test_a_batch_is_full_at_the_limit_on_batch_duration() -> None:
    lane = new_lane()
    harness = Harness(lane)
    harness.ask(0.9)  # beside another batch, two images take 0.4 s and three 0.6 s
    run(harness.device, lane)
    queued(lane, "1")
    assert harness.form() is None
    queued(lane, "2")
    assert payloads(harness.form()) == ["1", "2"]


def test_while_a_batch_runs_another_starts_at_the_last_moment_for_its_earliest_deadline() -> None:
    lane = new_lane()
    harness = Harness(lane)
    run(harness.device, lane)
    queued(lane, "1", 1.0)
    queued(lane, "2", 9.0)
    last_moment = 1.0 - 0.4  # two images at half the speed
    assert harness.wait_seconds() == pytest.approx(last_moment)
    assert harness.form(last_moment - 0.01) is None
    assert payloads(harness.form(last_moment + 1e-9))[0] == "1"


def test_the_earliest_deadline_of_any_class_sets_the_last_moment() -> None:
    lane = new_lane()
    harness = Harness(lane)
    run(harness.device, lane)
    queued(lane, "high", 9.0, HIGH)
    queued(lane, "low", 1.0, LOW)
    assert harness.wait_seconds() == pytest.approx(0.6)


def test_a_running_batch_does_not_delay_another_model() -> None:
    busy, other = new_lane("a"), new_lane("b")
    harness = Harness(busy, other)
    run(harness.device, busy)
    queued(busy, "a", 1.0)
    queued(other, "b", 2.0)
    assert payloads(harness.form()) == ["b"]


def test_a_batch_on_another_device_delays_nothing() -> None:
    lane = new_lane(devices="de")
    harness, other = Harness(lane), Device[str]("e", 2)
    run(other, lane)
    queued(lane, "1")
    assert payloads(harness.form()) == ["1"]


def test_the_queue_delay_counts_from_the_first_image() -> None:
    lane = new_lane(max_queue_delay_seconds=0.5)
    harness = Harness(lane)
    queued(lane, "2", queued_at=10.2)
    queued(lane, "1", queued_at=10.0, deadline=100.0)
    assert harness.wait_seconds(10.2) == pytest.approx(0.3)
    assert harness.form(10.4) is None
    assert len(payloads(harness.form(10.5))) == 2


def test_the_queue_delay_counts_from_the_oldest_image_even_if_another_is_more_urgent() -> None:
    lane = new_lane(max_queue_delay_seconds=0.5)
    queued(lane, "came first", 90.0, queued_at=10.0)
    queued(lane, "goes first", 80.0, queued_at=10.4)
    assert Harness(lane).wait_seconds(10.4) == pytest.approx(0.1)


def test_the_queue_delay_ends_when_the_batch_is_full() -> None:
    lane = new_lane(size=2, max_queue_delay_seconds=0.5)
    harness = Harness(lane)
    queued(lane, "1")
    assert harness.form() is None
    queued(lane, "2")
    assert payloads(harness.form()) == ["1", "2"]


def test_the_queue_delay_makes_no_ticket_miss_its_deadline() -> None:
    lane = new_lane(max_queue_delay_seconds=5.0)
    harness = Harness(lane)
    queued(lane, "1", 1.0)
    assert harness.wait_seconds() == pytest.approx(0.9)
    assert payloads(harness.form(0.9)) == ["1"]


def test_a_model_in_its_queue_delay_does_not_delay_another() -> None:
    waits, full = new_lane("a", max_queue_delay_seconds=0.5), new_lane("b")
    queued(waits, "a", 1.0)
    queued(full, "b", 2.0)
    assert payloads(Harness(waits, full).form()) == ["b"]


def test_while_draining_nothing_waits_for_more() -> None:
    lane = new_lane(max_queue_delay_seconds=5.0)
    harness = Harness(lane)
    run(harness.device, lane)
    queued(lane, "1")
    assert payloads(harness.form(draining=True)) == ["1"]


@pytest.mark.parametrize("draining", [False, True])
def test_never_more_instances_than_allowed_run_on_a_device(draining: bool) -> None:
    lane, other = new_lane("a", size=1, instances=1), new_lane("b", size=1)
    harness = Harness(lane, other, workers=3)
    run(harness.device, other)
    queued(lane, "1", 1.0)
    assert payloads(harness.form()) == ["1"]
    run(harness.device, lane)
    assert harness.form(now=0.95, draining=draining) is None
    assert harness.wait_seconds() is None


# Decoders.


def test_decoders_take_the_highest_priority_then_the_earliest_deadline() -> None:
    lane, other = new_lane("a"), new_lane("b")
    undecoded(lane, "later", 3.0)
    undecoded(lane, "sooner", 2.0)
    undecoded(lane, "low", 1.0, LOW)
    undecoded(other, "high", 9.0, HIGH)
    harness = Harness(lane, other)
    order = []
    while (ticket := harness.policy.next_undecoded(harness.devices, True, 0.0)) is not None:
        order.append(ticket.payload)
        (lane if ticket.lane == "a" else other).flows[ticket.priority].undecoded.remove(ticket)
    assert order == ["high", "sooner", "later", "low"]


def test_decoders_respect_fair_shares() -> None:
    greedy, quiet = new_lane("a"), new_lane("b")
    undecoded(greedy, "a", 1.0)
    undecoded(quiet, "b", 2.0)
    greedy.flows[NORMAL].used = 1.0
    harness = Harness(greedy, quiet)
    assert harness.policy.next_undecoded(harness.devices, True, 0.0) is quiet.flows[NORMAL].undecoded.head


def test_where_a_decoder_is_to_be_kept_free_the_first_ticket_that_is_not_long_goes_first() -> None:
    lane = new_lane()
    harness = Harness(lane)
    undecoded(lane, "long", 1.0, decode_seconds=0.5)
    undecoded(lane, "short", 9.0, decode_seconds=0.01)
    long, short = lane.flows[NORMAL].undecoded
    assert harness.policy.next_undecoded(harness.devices, may_be_long=True, now=0.0) is long
    assert harness.policy.next_undecoded(harness.devices, may_be_long=False, now=0.0) is short


@pytest.mark.parametrize(("devices", "ahead"), [("d", 3), ("de", 6), ("def", 6), ("x", 0)])
def test_decoders_work_one_and_a_half_batches_ahead_of_each_device(devices: str, ahead: int) -> None:
    lane = new_lane(size=2, devices="de")
    for _ in range(20):
        undecoded(lane, "")
    there = {name: Device[str](name, 2) for name in devices}
    decoded = 0
    while (ticket := Harness(lane).policy.next_undecoded(there, True, 0.0)) is not None:
        lane.flows[NORMAL].undecoded.remove(ticket)
        if decoded % 2:
            decoding(lane, "")
        else:
            queued(lane, "")
        decoded += 1
    assert decoded == ahead


def test_a_model_with_enough_decoded_leaves_the_decoders_to_others() -> None:
    ahead, behind = new_lane("a", size=1), new_lane("b", size=1)
    queued(ahead, "")
    queued(ahead, "")
    undecoded(ahead, "a", 1.0, HIGH)
    undecoded(behind, "b", inf)
    harness = Harness(ahead, behind, workers=1)
    assert harness.policy.next_undecoded(harness.devices, True, 0.0) is behind.flows[NORMAL].undecoded.head
