"""A device is to blame only for what another device can do; a model's own fault shows on every device."""

from linnaeus.server.execution.device_health import DeviceHealth

GOOD, BROKEN = ("good", 1), ("broken", 1)


def test_three_failures_in_a_row_at_what_another_device_did_meanwhile_are_the_devices_fault() -> None:
    health = DeviceHealth()
    assert not health.record_failure("a", GOOD)
    health.record_success("b", GOOD)
    assert not health.record_failure("a", GOOD)
    assert health.record_failure("a", GOOD)


def test_a_success_begins_a_new_row() -> None:
    health = DeviceHealth()
    for _ in range(4):
        assert not health.record_failure("a", GOOD)
        health.record_success("b", GOOD)
        assert not health.record_failure("a", GOOD)
        health.record_success("a", GOOD)


def test_what_went_well_elsewhere_before_the_row_began_says_nothing() -> None:
    health = DeviceHealth()
    health.record_success("b", GOOD)
    assert [health.record_failure("a", GOOD) for _ in range(9)] == [False] * 9


def test_a_model_that_fails_on_every_device_takes_none_out() -> None:
    health = DeviceHealth()
    blamed = [health.record_failure(device, BROKEN) for _ in range(9) for device in ("a", "b")]
    assert not any(blamed)


def test_what_another_device_does_of_another_model_says_nothing() -> None:
    health = DeviceHealth()
    for _ in range(9):
        assert not health.record_failure("a", BROKEN)
        health.record_success("b", GOOD)


def test_the_only_device_is_never_to_blame() -> None:
    health = DeviceHealth()
    assert not any(health.record_failure("a", GOOD) for _ in range(9))


def test_a_broken_models_failures_are_not_held_against_a_device_that_slips_once_at_another() -> None:
    health = DeviceHealth()
    for _ in range(2):
        health.record_failure("a", BROKEN), health.record_failure("b", BROKEN)
    health.record_success("b", GOOD)
    assert not health.record_failure("a", GOOD), "it failed once at what the other can do, not three times in a row"


def test_a_removed_lane_is_forgotten() -> None:
    health = DeviceHealth()
    for lane in (GOOD, BROKEN):
        for _ in range(3):
            health.record_failure("a", lane)
            health.record_success("b", lane)
    health.forget(GOOD)
    assert not health.record_failure("a", GOOD) and health.record_failure("a", BROKEN)
