"""Sampling of a share of numbered items."""

_WORD = 1 << 64
# 2^64 divided by the golden ratio: its multiples modulo 2^64 are evenly distributed (Knuth, TAOCP 3, 6.4).
_STEP = 0x9E3779B97F4A7C15


def is_sampled(number: int, share: float) -> bool:
    """Returns whether a number is sampled. Deterministic, and even over any run of numbers.

    Args:
        number: the item's number.
        share: from 0.0 (none) to 1.0 (all).
    """
    return number * _STEP % _WORD < share * _WORD
