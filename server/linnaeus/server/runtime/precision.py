"""Compares precisions with float32 and chooses one: it must agree with float32 and be faster.

Pure: models are callables and the clock is injected. It does not know how a precision is produced.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

FLOAT32 = "float32"
AUTO = "auto"
PRECISIONS = (FLOAT32, "bfloat16", "float16")
# The probabilities of one picture, by class index.
Probabilities: TypeAlias = Sequence[float]

_LARGEST_DIFFERENCE = 0.02
# Less is noise: the choice, and with it the last digits of the answers, would change from one start to the next.
_WORTHWHILE_GAIN = 1.05
_TIMED_ROUNDS = 5
_MAX_COMPARED = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the answers of one precision compare with those of float32.

    Attributes:
        same: number of pictures with the same top-1 class.
        pictures: number of pictures compared.
        difference: largest difference of any probability; NaN if any answer is not finite.
    """

    same: int
    pictures: int
    difference: float

    @property
    def holds(self) -> bool:
        """Whether `auto` may choose the precision."""
        return self.same == self.pictures and self.difference <= _LARGEST_DIFFERENCE

    @property
    def is_finite(self) -> bool:
        """Whether all answers are finite."""
        return math.isfinite(self.difference)

    def __str__(self) -> str:
        """Returns the agreement as text for users."""
        same = f"{self.same} of {self.pictures} pictures have the same top-1"
        return f"{same}, probabilities differ by at most {self.difference:.4f}"


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one precision that `auto` tried.

    Attributes:
        precision: name of the precision.
        images_per_second: throughput at its best batch size; 0.0 if it was not timed.
        agreement: agreement with float32; None if it cannot be run.
        failure: why it cannot be run.
    """

    precision: str
    images_per_second: float = 0.0
    agreement: Agreement | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen precision, and the reason in one sentence."""

    precision: str
    reason: str


def compare(answers: Sequence[Probabilities], float32: Sequence[Probabilities]) -> Agreement:
    """Compares two precisions' answers to the same pictures."""
    pairs = list(zip(answers, float32, strict=True))
    same = sum(_top_1(ours) == _top_1(theirs) for ours, theirs in pairs)
    differences = [abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
    # `max` ignores NaN
    return Agreement(same, len(pairs), max(differences) if all(map(math.isfinite, differences)) else math.nan)


def most_confident(answers: Sequence[Probabilities]) -> list[int]:
    """Returns the indices of the pictures with the largest lead of the first class over the second, in ascending order.

    Of generated pictures only these are compared: a network may be uncertain about pictures unlike its training data,
    and where float32 is nearly undecided, a different answer says nothing about the precision.
    """

    def lead(place: int) -> float:
        first, second = (sorted(answers[place], reverse=True) + [0.0])[:2]
        return first - second

    return sorted(sorted(range(len(answers)), key=lead, reverse=True)[:_MAX_COMPARED])


def choose_precision(float32_per_second: float, trials: Sequence[Trial]) -> Choice:
    """Returns the fastest precision that agrees with float32; float32 if none is sufficiently faster."""
    fitting = [trial for trial in trials if trial.agreement is not None and trial.agreement.holds]
    best = max(fitting, key=lambda trial: trial.images_per_second, default=None)
    if best is not None and best.images_per_second >= _WORTHWHILE_GAIN * float32_per_second:
        return Choice(best.precision, f"auto: {_describe(best, float32_per_second)}")
    descriptions = "; ".join(_describe(trial, float32_per_second) for trial in trials)
    return Choice(FLOAT32, f"auto: {descriptions or 'the device computes in no other'}")


def images_per_second(
    runs: Mapping[str, tuple[int, Callable[[], object]]], clock: Callable[[], float]
) -> dict[str, float]:
    """Measures throughputs in turns, so that a slow phase of the machine affects all of them alike.

    Args:
        runs: by name, the number of images per run and the run itself, which is warm.
        clock: time in seconds.
    """
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_TIMED_ROUNDS):
        for name, (_, run) in runs.items():
            started = clock()
            run()
            best[name] = min(best[name], max(clock() - started, 1e-9))
    return {name: size / best[name] for name, (size, _) in runs.items()}


def _top_1(answer: Probabilities) -> int:
    return max(range(len(answer)), key=lambda index: (answer[index], -index))


def _describe(trial: Trial, float32_per_second: float) -> str:
    if trial.agreement is None:
        return f"{trial.precision} cannot be run ({trial.failure})"
    if not trial.agreement.holds:
        return f"{trial.precision} does not agree with float32 ({trial.agreement})"
    speed = trial.images_per_second / float32_per_second
    rates = f"{trial.images_per_second:.0f} and {float32_per_second:.0f} images a second"
    return f"{trial.precision} is {speed:.2f} times as fast as float32 ({rates}; {trial.agreement})"
