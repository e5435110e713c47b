"""Which of many numbered things are looked at, by a share of them."""

_WORD = 1 << 64
# 2^64 over the golden ratio: multiples of it, modulo 2^64, lie evenly from the first on (Knuth, TAOCP 3, 6.4).
_STEP = 0x9E3779B97F4A7C15


def is_sampled(number: int, share: float) -> bool:
    """Whether a number is among the share, from 0.0 (none) to 1.0 (all); always the same, and spread evenly."""
    return number * _STEP % _WORD < share * _WORD
