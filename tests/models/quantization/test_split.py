"""Pictures are divided into those to calibrate by and those held out, the same in every run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.quantization.split import split

NAMES = [f"{number}.jpg" for number in range(1000)]


@given(st.lists(st.text(), min_size=2, max_size=700, unique=True))
def test_every_picture_is_on_one_side_and_half_at_most_calibrate(names: list[str]) -> None:
    calibration, held_out = split(names)
    assert sorted(calibration + held_out) == list(range(len(names)))
    assert len(calibration) == min(300, len(names) // 2)


def test_a_picture_stays_on_its_side_whatever_the_order_of_the_names() -> None:
    backwards = NAMES[::-1]
    there, here = split(backwards)[0], split(NAMES)[0]
    assert {backwards[index] for index in there} == {NAMES[index] for index in here}
    assert sorted(here)[:5] != [0, 1, 2, 3, 4]  # pictures that were taken one after the other are on both sides


@pytest.mark.parametrize(("held_out", "number"), [("200", 200), ("0.9", 900), ("1e-3", 1), ("999", 999)])
def test_a_number_or_a_share_can_be_held_out(held_out: str, number: int) -> None:
    calibration, judged = split(NAMES, held_out)
    assert len(judged) == number and len(calibration) == min(300, 1000 - number)
    assert not set(calibration) & set(judged)


@pytest.mark.parametrize("held_out", ["0", "1000", "1.0", "0.0001", "-1", "nan", "inf", "many", "٣"])
def test_what_leaves_a_side_without_pictures_or_is_no_number_is_refused(held_out: str) -> None:
    with pytest.raises(ValueError, match=r"^--held-out "):
        split(NAMES, held_out)


def test_one_picture_cannot_be_divided() -> None:
    with pytest.raises(ValueError, match=r"--calibration: 1 picture cannot be divided"):
        split(["only.jpg"])
