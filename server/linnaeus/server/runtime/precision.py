"""Which precision a model runs in, and why: whether it agrees with float32, and whether it is worth it.

Pure: models are callables and the clock is injected. It knows nothing of how a precision is made.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

FLOAT32 = "float32"
AUTO = "auto"
PRECISIONS = (FLOAT32, "bfloat16", "float16")
# The probabilities of a picture, by class index.
Probabilities: TypeAlias = Sequence[float]

_LARGEST_DIFFERENCE = 0.02
# Less is noise, which would have a version change its answers' last digits from one start to the next.
_WORTHWHILE_GAIN = 1.05
_TIMED_ROUNDS = 5
_MOST_CONFIDENT = 8


@dataclass(frozen=True, slots=True)
class Agreement:
    """How one precision's answers compare with float32's.

    Attributes:
        same: pictures whose first class is the same.
        pictures: that were compared.
        difference: the largest of any probability; not a number where an answer is none.
    """

    same: int
    pictures: int
    difference: float

    @property
    def holds(self) -> bool:
        """Whether `auto` may take it."""
        return self.same == self.pictures and self.difference <= _LARGEST_DIFFERENCE

    @property
    def is_finite(self) -> bool:
        """Whether all of the answers are numbers."""
        return math.isfinite(self.difference)

    def __str__(self) -> str:
        """Says it in words."""
        same = f"{self.same} of {self.pictures} pictures have the same top-1"
        return f"{same}, probabilities differ by at most {self.difference:.4f}"


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of one precision that `auto` tried.

    Attributes:
        precision: its name.
        images_per_second: at its best batch size; 0.0 where it was not timed.
        agreement: with float32; None where it cannot be run.
        failure: why it cannot be run.
    """

    precision: str
    images_per_second: float = 0.0
    agreement: Agreement | None = None
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """A precision, and why it is that one, in one sentence."""

    precision: str
    reason: str


def compare(answers: Sequence[Probabilities], float32: Sequence[Probabilities]) -> Agreement:
    """Compares two answers to each of the same pictures."""
    pairs = list(zip(answers, float32, strict=True))
    same = sum(_top(ours) == _top(theirs) for ours, theirs in pairs)
    differences = [abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
    # `max` overlooks what is no number
    return Agreement(same, len(pairs), max(differences) if all(map(math.isfinite, differences)) else math.nan)


def most_confident(answers: Sequence[Probabilities]) -> list[int]:
    """The places of the pictures whose first class is furthest ahead of the second, in their order.

    Of drawn pictures only these are compared: a network may be unsure of what it has never seen the like of, and where
    float32 is as good as undecided, another answer says nothing of a precision.
    """

    def lead(place: int) -> float:
        first, second = (sorted(answers[place], reverse=True) + [0.0])[:2]
        return first - second

    return sorted(sorted(range(len(answers)), key=lead, reverse=True)[:_MOST_CONFIDENT])


def choose_precision(float32_per_second: float, trials: Sequence[Trial]) -> Choice:
    """Takes the fastest that agrees with float32; float32 itself where none is worth it."""
    fitting = [trial for trial in trials if trial.agreement is not None and trial.agreement.holds]
    best = max(fitting, key=lambda trial: trial.images_per_second, default=None)
    if best is not None and best.images_per_second >= _WORTHWHILE_GAIN * float32_per_second:
        return Choice(best.precision, f"auto: {_describe(best, float32_per_second)}")
    told = "; ".join(_describe(trial, float32_per_second) for trial in trials)
    return Choice(FLOAT32, f"auto: {told or 'the device computes in no other'}")


def images_per_second(
    runs: Mapping[str, tuple[int, Callable[[], object]]], clock: Callable[[], float]
) -> dict[str, float]:
    """Times several things in turns, so that a slow spell of the machine hits all of them alike.

    Args:
        runs: by name, how many images a run takes, and what runs them; all of them warm.
        clock: seconds.
    """
    best = dict.fromkeys(runs, math.inf)
    for _ in range(_TIMED_ROUNDS):
        for name, (_, run) in runs.items():
            started = clock()
            run()
            best[name] = min(best[name], max(clock() - started, 1e-9))
    return {name: size / best[name] for name, (size, _) in runs.items()}


def _top(answer: Probabilities) -> int:
    return max(range(len(answer)), key=lambda index: (answer[index], -index))


def _describe(trial: Trial, float32_per_second: float) -> str:
    if trial.agreement is None:
        return f"{trial.precision} cannot be run ({trial.failure})"
    if not trial.agreement.holds:
        return f"{trial.precision} does not agree with float32 ({trial.agreement})"
    speed = trial.images_per_second / float32_per_second
    rates = f"{trial.images_per_second:.0f} and {float32_per_second:.0f} images a second"
    return f"{trial.precision} is {speed:.2f} times as fast as float32 ({rates}; {trial.agreement})"
