"""Batches are formed, run, and requeued when their device is removed. An image takes 0.1 s."""

import pytest
from builders import late_payloads, new_lane, payloads
from state_harness import Harness

from linnaeus.server.scheduling import UNKNOWN_WORK, Priority, Stage

HIGH, NORMAL, LOW = Priority


def test_a_batch_has_its_expected_seconds_and_number_of_concurrent_batches() -> None:
    harness = Harness(new_lane("a", size=1), workers=2)
    for _ in range(2):
        harness.admit()
    harness.decode()
    first, second = harness.form(), harness.form()
    assert first is not None and second is not None
    assert [first.concurrent, second.concurrent] == [0, 1]
    assert [first.expected_seconds, second.expected_seconds] == pytest.approx([0.1, 0.2])
    assert second.number > first.number


def test_a_ticket_that_is_late_when_a_batch_is_formed_is_not_run() -> None:
    harness = Harness()
    late = harness.admit("late", deadline=1.0)
    harness.admit("good", deadline=3.0)
    harness.decode()
    batch = harness.form(1.2)
    assert payloads(batch) == ["good"] and late_payloads(batch) == ["late"]
    assert late.stage is Stage.ENDED and harness.lanes[0].depth == 0
    assert late.predicted_at == pytest.approx(1.3)  # the time at which it would have been answered


def test_a_batch_of_only_late_tickets_occupies_no_worker() -> None:
    harness = Harness()
    harness.admit("late", deadline=1.0)
    harness.decode()
    batch = harness.form(1.2)
    assert payloads(batch) == [] and batch is not None
    assert not harness.state.devices["d"].running
    harness.batches.finish_batch(batch, 9.0, learn=True)
    assert harness.state.is_idle


def test_tickets_of_a_removed_devices_batch_wait_for_another_device() -> None:
    harness = Harness(new_lane(devices="de"), devices="de")
    kept, left = harness.admit("kept"), harness.admit("left")
    harness.decode()
    batch = harness.form(0.1)
    assert batch is not None
    harness.state.cancel(left, True, 0.2)
    assert harness.batches.remove_device("d", batch, 0.3) == []
    assert "d" not in harness.lanes[0].tables
    assert kept.stage is Stage.QUEUED and harness.lanes[0].flows[NORMAL].running == 0
    assert payloads(harness.form(0.4, "e")) == ["kept"]


def test_removing_the_last_device_of_a_model_returns_its_tickets_only() -> None:
    harness = Harness(new_lane("a"), new_lane("b", devices="de"), devices="de")
    waiting, decoded = (
        harness.admit("waiting", work=UNKNOWN_WORK),
        harness.admit("decoded", deadline=4.0, work=UNKNOWN_WORK),
    )
    turn = harness.state.next_to_decode(0.0, False)
    assert turn is not None and turn.tickets == [decoded]
    harness.state.put(decoded, 0.0, 0.0)
    other = harness.admit(lane=1, work=UNKNOWN_WORK)
    stranded = harness.batches.remove_device("d", None, 0.0)
    assert set(map(id, stranded)) == {id(waiting), id(decoded)}
    assert waiting.stage is decoded.stage is Stage.ENDED and other.stage is Stage.ADMITTED
    assert harness.batches.remove_device("d", None, 0.0) == []


def test_a_batch_on_a_removed_device_can_finish() -> None:
    harness = Harness()
    harness.admit()
    harness.decode()
    batch = harness.form()
    assert batch is not None
    harness.batches.remove_device("d", None, 0.0)
    harness.batches.finish_batch(batch, 1.0, learn=True)
    assert harness.lanes[0].flows[NORMAL].running == 0


def apart() -> Harness:
    """A lane `a` of short runs and a lane `b` of others, which different threads of a device run."""
    harness = Harness(new_lane("a", is_short=True), new_lane("b"), runs_short_apart=True)
    for lane in range(2):
        harness.admit("ab"[lane], lane=lane)
    harness.decode()
    return harness


@pytest.mark.parametrize(("short", "taken"), [(True, "a"), (False, "b")])
def test_lanes_of_short_runs_are_run_apart_from_others(short: bool, taken: str) -> None:
    harness = apart()
    device = harness.state.devices["d"]
    assert payloads(harness.batches.form_batch(device, 0.0, False, short)) == [taken]
    assert harness.batches.form_batch(device, 0.0, False, short) is None
    assert harness.state.policy.wait_seconds(device, 0.0, short) is None
    assert harness.state.policy.wait_seconds(device, 0.0, not short) == 0.0


@pytest.mark.parametrize(("now", "short"), [(9.0, False), (12.0, True)], ids=["soon", "later"])
def test_after_a_long_run_workers_run_a_lane_of_short_runs_for_a_while(now: float, short: bool) -> None:
    harness = apart()
    device = harness.state.devices["d"]
    batch = harness.batches.form_batch(device, 0.0, False, short=True)
    assert batch is not None
    harness.batches.finish_batch(batch, 1.0, learn=True)
    harness.batches.form_batch(device, 1.0, False)  # the other lane's
    harness.admit("next", now=now)
    harness.decode(now)
    assert harness.batches.form_batch(device, now, False, not short) is None
    assert payloads(harness.batches.form_batch(device, now, False, short)) == ["next"]
