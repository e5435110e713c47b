"""A device is to blame only for what another device can do; a model's own fault shows on every device."""

from linnaeus.server.execution.device_health import FailureCount

GOOD, BROKEN = ("good", 1), ("broken", 1)


def test_three_failures_in_a_row_at_what_another_device_did_meanwhile_are_the_devices_fault() -> None:
    count = FailureCount()
    assert not count.failed("a", GOOD)
    count.went_well("b", GOOD)
    assert not count.failed("a", GOOD)
    assert count.failed("a", GOOD)


def test_a_success_begins_a_new_row() -> None:
    count = FailureCount()
    for _ in range(4):
        assert not count.failed("a", GOOD)
        count.went_well("b", GOOD)
        assert not count.failed("a", GOOD)
        count.went_well("a", GOOD)


def test_what_went_well_elsewhere_before_the_row_began_says_nothing() -> None:
    count = FailureCount()
    count.went_well("b", GOOD)
    assert [count.failed("a", GOOD) for _ in range(9)] == [False] * 9


def test_a_model_that_fails_on_every_device_takes_none_out() -> None:
    count = FailureCount()
    blamed = [count.failed(device, BROKEN) for _ in range(9) for device in ("a", "b")]
    assert not any(blamed)


def test_what_another_device_does_of_another_model_says_nothing() -> None:
    count = FailureCount()
    for _ in range(9):
        assert not count.failed("a", BROKEN)
        count.went_well("b", GOOD)


def test_the_only_device_is_never_to_blame() -> None:
    count = FailureCount()
    assert not any(count.failed("a", GOOD) for _ in range(9))


def test_a_broken_models_failures_are_not_held_against_a_device_that_slips_once_at_another() -> None:
    count = FailureCount()
    for _ in range(2):
        count.failed("a", BROKEN), count.failed("b", BROKEN)
    count.went_well("b", GOOD)
    assert not count.failed("a", GOOD), "it failed once at what the other can do, not three times in a row"


def test_a_lane_that_is_gone_is_forgotten() -> None:
    count = FailureCount()
    for lane in (GOOD, BROKEN):
        for _ in range(3):
            count.failed("a", lane)
            count.went_well("b", lane)
    count.forget(GOOD)
    assert not count.failed("a", GOOD) and count.failed("a", BROKEN)
