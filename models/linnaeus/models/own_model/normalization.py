"""Judges a mean and a standard deviation that a user gives for pixels scaled to 0..1."""

import math
from collections.abc import Sequence

_WHITE = 255


def normalization_fault(option: str, values: Sequence[float], channels: int) -> str | None:
    """Returns why `--mean` or `--std` cannot be right, with what to do; None if it can.

    Args:
        option: "mean" or "std".
        values: one number a channel.
        channels: of the model's input.
    """
    if len(values) != channels:
        return f"--{option} has {len(values)} numbers, but there are {channels} channels"
    if not all(map(math.isfinite, values)):
        return f"--{option} is {_list(values)}, but must be finite numbers"
    if option == "std" and not min(values) > 0:
        return "--std must be above 0"
    if max(values) > 1:
        scaled = [value / _WHITE for value in values]
        hint = f"; divide by 255: --{option} {_list(scaled)}" if max(scaled) <= 1 else ""
        return f"--{option} is {_list(values)}, which fits pixels between 0 and 255, not between 0 and 1{hint}"
    if min(values) < 0:
        return f"--mean is {_list(values)}, but the mean of pixels between 0 and 1 is not below 0"
    return None


def _list(values: Sequence[float]) -> str:
    return ",".join(f"{value:.4g}" for value in values)
