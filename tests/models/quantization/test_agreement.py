"""An int8 model is judged by its top-1 and, where there are labels, by its accuracy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.quantization.agreement import (
    Accuracy,
    Agreement,
    describe,
    fault_of,
    too_few,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_is_wilsons(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


@given(trials=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_interval_contains_the_share_and_lies_within_0_and_1(trials: int, share: float) -> None:
    successes = round(share * trials)
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials + 1e-9 and successes / trials - 1e-9 <= high <= 1
    assert low < high


def test_without_labels_95_of_100_pictures_need_the_same_top1() -> None:
    assert fault_of(Agreement(1000, 950)) is None
    fault = fault_of(Agreement(1000, 949))
    assert fault == "int8 has the same top-1 as float32 on 94.90% of the pictures, but must on 95%"


def test_with_labels_the_accuracy_decides_and_may_fall_by_a_point() -> None:
    assert fault_of(Agreement(1000, 500, Accuracy(700, 690))) is None
    assert fault_of(Agreement(1000, 500, Accuracy(700, 720))) is None
    fault = fault_of(Agreement(1000, 999, Accuracy(700, 689)))
    assert fault == "int8 loses 1.10 points of accuracy, but may lose 1"


def test_of_10000_digits_ten_may_be_lost() -> None:
    assert fault_of(Agreement(10_000, 9_000, Accuracy(9_950, 9_940)), most_points_lost=0.1) is None
    assert fault_of(Agreement(10_000, 9_990, Accuracy(9_950, 9_939)), most_points_lost=0.1) is not None


def test_200_pictures_are_needed_to_judge() -> None:
    assert too_few(200) is None
    assert too_few(199) == (
        "199 pictures are held out to judge the int8 model by, but 200 are needed: give at least 400 pictures"
    )


def test_the_figures_are_told_with_their_interval() -> None:
    text = "the same top-1 as float32 on 190 of 200 held-out pictures (95.00%, 95 % interval 91.04% to 97.26%)"
    assert describe(Agreement(200, 190)) == text
    assert describe(Agreement(200, 190, Accuracy(160, 159))) == (f"{text}; accuracy 80.00% as float32, 79.50% as int8")
