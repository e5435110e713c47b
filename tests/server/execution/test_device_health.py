"""Tests of `DeviceHealth`: a device is at fault only if another device runs the same lane successfully."""

from linnaeus.server.execution.device_health import DeviceHealth

GOOD, BROKEN = ("good", 1), ("broken", 1)


def test_three_failures_in_a_row_are_the_devices_fault_if_another_succeeds_meanwhile() -> None:
    health = DeviceHealth()
    assert not health.record_failure("a", GOOD)
    health.record_success("b", GOOD)
    assert not health.record_failure("a", GOOD)
    assert health.record_failure("a", GOOD)


def test_a_success_resets_the_streak() -> None:
    health = DeviceHealth()
    for _ in range(4):
        assert not health.record_failure("a", GOOD)
        health.record_success("b", GOOD)
        assert not health.record_failure("a", GOOD)
        health.record_success("a", GOOD)


def test_a_success_elsewhere_before_the_streak_does_not_count() -> None:
    health = DeviceHealth()
    health.record_success("b", GOOD)
    assert [health.record_failure("a", GOOD) for _ in range(9)] == [False] * 9


def test_a_model_that_fails_on_every_device_removes_none() -> None:
    health = DeviceHealth()
    blamed = [health.record_failure(device, BROKEN) for _ in range(9) for device in ("a", "b")]
    assert not any(blamed)


def test_a_success_of_another_model_elsewhere_does_not_count() -> None:
    health = DeviceHealth()
    for _ in range(9):
        assert not health.record_failure("a", BROKEN)
        health.record_success("b", GOOD)


def test_the_only_device_is_never_at_fault() -> None:
    health = DeviceHealth()
    assert not any(health.record_failure("a", GOOD) for _ in range(9))


def test_failures_of_different_models_do_not_add_up() -> None:
    health = DeviceHealth()
    for _ in range(2):
        health.record_failure("a", BROKEN), health.record_failure("b", BROKEN)
    health.record_success("b", GOOD)
    assert not health.record_failure("a", GOOD), "one failure of this lane, not three in a row"


def test_a_removed_lane_is_forgotten() -> None:
    health = DeviceHealth()
    for lane in (GOOD, BROKEN):
        for _ in range(3):
            health.record_failure("a", lane)
            health.record_success("b", lane)
    health.forget(GOOD)
    assert not health.record_failure("a", GOOD) and health.record_failure("a", BROKEN)
