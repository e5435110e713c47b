"""Comparing variants, and choosing one."""

import pytest

from linnaeus.server.runtime.variants import (
    AUTO,
    FLOAT32,
    Agreement,
    Requested,
    Trial,
    Variant,
    choose,
    compare,
    images_per_second,
    most_confident,
    reason,
)

FIRST, OTHER, HALF = Variant("torchscript", FLOAT32), Variant("openvino", FLOAT32), Variant("openvino", "bfloat16")
AGREES = Agreement(8, 8, 1e-6)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def trial(variant: Variant, *speeds: float, memory_bytes: int = 0, failure: str = "") -> Trial:
    return Trial(variant, AGREES, failure, dict(zip((1, 8), speeds, strict=True)) if speeds else None, memory_bytes)


def test_the_difference_is_the_largest_over_all_classes_and_pictures() -> None:
    assert compare([[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.2, 0.8]]) == Agreement(2, 2, pytest.approx(0.1))


def test_the_most_confident_pictures_have_the_largest_lead() -> None:
    assert most_confident([[0.5, 0.5], *[[0.9, 0.1]] * 8, [0.6, 0.4]]) == list(range(1, 9))


def test_speeds_are_measured_in_turns_and_the_fastest_run_counts() -> None:
    clock = Clock()
    spent = iter([0.9, 0.9] + [0.1, 0.05] * 4)

    def run() -> None:
        clock.now += next(spent)

    assert images_per_second({FIRST: {2: run}, OTHER: {2: run}}, clock) == {
        FIRST: {2: pytest.approx(20.0)},
        OTHER: {2: pytest.approx(40.0)},
    }


def test_timing_ends_after_a_few_seconds_however_slow_the_models_are() -> None:
    clock = Clock()
    runs = []

    def run() -> None:
        clock.now += 2.0
        runs.append(clock.now)

    images_per_second({FIRST: {1: run}, OTHER: {1: run}}, clock)
    assert len(runs) == 2


@pytest.mark.parametrize(
    ("others", "chosen"),
    [
        ([], FIRST),
        ([trial(OTHER, 2.0, 2.0)], OTHER),
        ([trial(OTHER, 1.04, 1.04)], FIRST),
        ([trial(OTHER, 3.0, 0.5)], OTHER),
        ([trial(OTHER, 3.0, 0.3)], FIRST),
        ([trial(OTHER, 2.0, 2.0), trial(HALF, 2.1, 2.1)], HALF),
        ([trial(OTHER, failure="cannot run it (no)")], FIRST),
        ([trial(OTHER, 1.15, 1.15, memory_bytes=1 << 30)], FIRST),
        ([trial(OTHER, 1.25, 1.25, memory_bytes=1 << 30)], OTHER),
    ],
    ids=["alone", "faster", "hardly faster", "faster on average", "slower on average", "fastest", "fails"]
    + ["not worth its memory", "worth its memory"],
)
def test_the_fastest_that_agrees_and_is_worth_it_is_chosen(others: list[Trial], chosen: Variant) -> None:
    assert choose([trial(FIRST, 1.0, 1.0), *others]).variant == chosen


def test_the_reason_names_what_was_not_chosen_with_speeds_and_why() -> None:
    trials = [trial(FIRST, 10.0, 20.0), trial(OTHER, 20.0, 40.0), trial(HALF, failure="cannot run it (no layer)")]
    text = reason(trials[1], trials)
    assert "openvino in float32 is 2.00 times as fast as torchscript in float32" in text
    assert "20 and 10 images a second in batches of 1" in text and "8 of 8 pictures" in text
    assert text.endswith("openvino in bfloat16 cannot run it (no layer)")


@pytest.mark.parametrize(
    ("variant", "precision", "agreement", "holds"),
    [
        (OTHER, FLOAT32, Agreement(8, 8, 0.00009), True),
        (OTHER, FLOAT32, Agreement(8, 8, 0.00011), False),
        (OTHER, FLOAT32, Agreement(7, 8, 0.00001), False),
        (HALF, AUTO, Agreement(8, 8, 0.019), True),
        (HALF, AUTO, Agreement(8, 8, 0.021), False),
        (HALF, AUTO, Agreement(7, 8, 0.001), False),
        (HALF, "bfloat16", Agreement(0, 8, 0.9), True),
        (HALF, "bfloat16", Agreement(8, 8, float("nan")), False),
    ],
)
def test_a_variant_must_agree_unless_its_precision_was_asked_for(
    variant: Variant, precision: str, agreement: Agreement, holds: bool
) -> None:
    assert agreement.holds(variant, Requested(AUTO, precision)) == holds
