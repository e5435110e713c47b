"""When calls arrive: evenly, at random, or in bursts. Rates are calls a second."""

import random
from collections.abc import Iterator


def steady(rate: float, start: float, end: float) -> Iterator[float]:
    """Yields moments that are equally far apart."""
    for number in range(int((end - start) * rate)):
        yield start + number / rate


def poisson(chance: random.Random, rate: float, start: float, end: float) -> Iterator[float]:
    """Yields the moments of many independent callers."""
    now = start
    while (now := now + chance.expovariate(rate)) < end:
        yield now


def bursts(
    chance: random.Random, rate: float, start: float, end: float, *, swing: float = 0.8, mean_seconds: float = 0.2
) -> Iterator[float]:
    """Yields moments whose rate jumps between `1 + swing` and `1 - swing` times the mean (a Markov-modulated process).

    The swing is above 0 and below 1. Phases last `mean_seconds` in the mean, and are exponentially distributed.
    """
    now, factor = start, 1.0 + swing
    while now < end:
        until = min(now + chance.expovariate(1.0 / mean_seconds), end)
        yield from poisson(chance, rate * factor, now, until)
        now, factor = until, 2.0 - factor
