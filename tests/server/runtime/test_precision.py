"""Comparing precisions, and choosing one."""

import pytest

from linnaeus.server.runtime.precision import (
    Agreement,
    Trial,
    choose_precision,
    compare,
    images_per_second,
    most_confident,
)

AGREES = Agreement(8, 8, 0.01)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_difference_is_the_largest_over_all_classes_and_pictures() -> None:
    assert compare([[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.2, 0.8]]) == Agreement(2, 2, pytest.approx(0.1))


def test_the_most_confident_pictures_have_the_largest_lead() -> None:
    assert most_confident([[0.5, 0.5], *[[0.9, 0.1]] * 8, [0.6, 0.4]]) == list(range(1, 9))


def test_speeds_are_measured_in_turns_and_the_fastest_run_counts() -> None:
    clock = Clock()
    spent = iter([9.0, 9.0] + [1.0, 0.5] * 4)

    def run() -> None:
        clock.now += next(spent)

    assert images_per_second({"a": (2, run), "b": (2, run)}, clock) == {"a": 2.0, "b": 4.0}


def test_without_other_precisions_float32_is_chosen() -> None:
    assert choose_precision(1.0, []).precision == "float32"
    assert choose_precision(1.0, [Trial("bfloat16", 2.0, AGREES)]).precision == "bfloat16"
