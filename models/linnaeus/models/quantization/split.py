"""Divides pictures into those to calibrate by and those that are held out to judge by.

Pure: standard library only. The division depends on nothing but the names, so it is the same on every machine and in
every run, and a picture that is added moves few others.
"""

import hashlib
from collections.abc import Sequence

# NNCF's own default; more change the ranges little.
MOST_CALIBRATION = 300


def split(names: Sequence[str], held_out: str | None = None) -> tuple[list[int], list[int]]:
    """Returns the indices of the pictures to calibrate by, and of those held out, which are disjoint.

    Args:
        names: one for each picture, all different.
        held_out: how many to hold out, as a number such as `200` or a share such as `0.5`; by default all but those to
            calibrate by, which are half, and at most `MOST_CALIBRATION`.

    Raises:
        ValueError: if nothing would be left on one of the sides, or `held_out` is neither a number nor a share.
    """
    if len(names) < 2:
        raise ValueError(f"--calibration: {len(names)} picture cannot be divided into some to calibrate by and others")
    order = sorted(range(len(names)), key=lambda index: hashlib.sha256(names[index].encode()).digest())
    if held_out is None:
        calibration = min(MOST_CALIBRATION, len(names) // 2)
        return order[:calibration], order[calibration:]
    number = _number_of(held_out, len(names))
    return order[: len(names) - number][:MOST_CALIBRATION], order[len(names) - number :]


def _number_of(held_out: str, count: int) -> int:
    try:
        number = int(held_out) if held_out.isascii() and held_out.isdigit() else round(float(held_out) * count)
    except (ValueError, OverflowError):
        raise ValueError(
            f"--held-out is {held_out!r}, but must be a number of pictures, or a share such as 0.5"
        ) from None
    if not 1 <= number < count:
        raise ValueError(f"--held-out {held_out} of {count} pictures leaves none to calibrate by, or none to judge by")
    return number
