"""Says how far an int8 model agrees with its float32 original, and whether that is enough to serve it.

Pure: standard library only.
"""

import math
from dataclasses import dataclass

# One point of accuracy is one picture of a hundred, and 95 % of 200 is known within about 3 points either way.
LEAST_PICTURES = 200
LEAST_AGREEMENT = 0.95
MOST_POINTS_LOST = 1.0
# The two-sided 95 % of a normal distribution.
_Z = 1.959964


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How many pictures both models name rightly, of those that `Agreement` counts."""

    correct_float32: int
    correct_int8: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """What an int8 model and its float32 original answer for the same held-out pictures.

    Attributes:
        pictures: their number, at least 1.
        same_top1: for how many of them both have the same top-1.
        accuracy: None if the pictures have no labels.
    """

    pictures: int
    same_top1: int
    accuracy: Accuracy | None = None

    @property
    def rate(self) -> float:
        """The share of the pictures with the same top-1."""
        return self.same_top1 / self.pictures

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of `rate`."""
        return wilson_interval(self.same_top1, self.pictures)

    @property
    def points_lost(self) -> float | None:
        """Accuracy of float32 minus that of int8, in points of 100; None without labels."""
        if self.accuracy is None:
            return None
        return (self.accuracy.correct_float32 - self.accuracy.correct_int8) * 100 / self.pictures


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Returns Wilson's score interval of a share, at 95 %: it stays within 0..1, also for shares of 0 and 1.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927.
    """
    share, square = successes / trials, _Z * _Z / trials
    center = (share + square / 2) / (1 + square)
    half = math.sqrt(share * (1 - share) * square + square * square / 4) / (1 + square)
    return max(0.0, center - half), min(1.0, center + half)


def too_few(held_out: int) -> str | None:
    """Says that there are too few pictures to judge by; None if there are enough."""
    if held_out >= LEAST_PICTURES:
        return None
    return (
        f"{held_out} pictures are held out to judge the int8 model by, but {LEAST_PICTURES} are needed: give at least "
        f"{2 * LEAST_PICTURES} pictures"
    )


def fault_of(agreement: Agreement, most_points_lost: float = MOST_POINTS_LOST) -> str | None:
    """Says why the int8 model should not be served; None if it may be.

    With labels the accuracy decides, since a network that is unsure may well answer otherwise, and as often rightly.
    """
    if agreement.points_lost is not None:
        if agreement.points_lost > most_points_lost:
            return f"int8 loses {agreement.points_lost:.2f} points of accuracy, but may lose {most_points_lost:g}"
    elif agreement.rate < LEAST_AGREEMENT:
        return (
            f"int8 has the same top-1 as float32 on {agreement.rate:.2%} of the pictures, but must on "
            f"{LEAST_AGREEMENT:.0%}"
        )
    return None


def describe(agreement: Agreement) -> str:
    """Returns the figures in one line."""
    low, high = agreement.interval
    text = (
        f"the same top-1 as float32 on {agreement.same_top1} of {agreement.pictures} held-out pictures "
        f"({agreement.rate:.2%}, 95 % interval {low:.2%} to {high:.2%})"
    )
    if agreement.accuracy is None:
        return text
    before, after = (
        count / agreement.pictures for count in (agreement.accuracy.correct_float32, agreement.accuracy.correct_int8)
    )
    return f"{text}; accuracy {before:.2%} as float32, {after:.2%} as int8"
