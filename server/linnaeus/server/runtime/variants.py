"""Compares the variants of a model, each a runtime and a precision, and chooses one: it must agree and be faster.

Pure: models are callables and the clock is injected. It does not know how a variant is produced.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

TORCHSCRIPT = "torchscript"
OPENVINO = "openvino"
ONNXRUNTIME = "onnxruntime"
FLOAT32 = "float32"
INT8 = "int8"
AUTO = "auto"
# The probabilities of one picture, by class index.
Probabilities: TypeAlias = Sequence[float]

# Runtimes order their sums differently; another precision rounds.
_LARGEST_DIFFERENCE_FLOAT32 = 1e-4
_LARGEST_DIFFERENCE = 0.02
# Less is noise: the choice, and with it the last digits of the answers, would change from one start to the next.
_WORTHWHILE_GAIN = 1.05
# A variant that holds this much more memory must be worth it.
_MUCH_MEMORY_BYTES = 256 << 20
_GAIN_WORTH_MUCH_MEMORY = 1.2
_TIMED_ROUNDS = 5
_LONGEST_TIMING_SECONDS = 3.0
_MAX_COMPARED = 8


class Variant(NamedTuple):
    """A way to compute a model: by which runtime, and in which precision."""

    runtime: str
    precision: str

    def __str__(self) -> str:
        """Returns the variant as text for users."""
        return f"{self.runtime} in {self.precision}"


class Requested(NamedTuple):
    """What the operator asks for; each may be `auto`."""

    runtime: str = AUTO
    precision: str = FLOAT32


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the answers of one variant compare with those of the reference, which computes in float32.

    Attributes:
        same: number of pictures with the same top-1 class.
        pictures: number of pictures compared.
        difference: largest difference of any probability; NaN if any answer is not finite.
    """

    same: int
    pictures: int
    difference: float

    def holds(self, variant: Variant, requested: Requested) -> bool:
        """Whether the variant may be chosen; a precision that was requested only has to give numbers."""
        if variant.precision != FLOAT32 and requested.precision != AUTO:
            return self.is_finite
        largest = _LARGEST_DIFFERENCE_FLOAT32 if variant.precision == FLOAT32 else _LARGEST_DIFFERENCE
        return self.same == self.pictures and self.difference <= largest

    @property
    def is_finite(self) -> bool:
        """Whether all answers are finite."""
        return math.isfinite(self.difference)

    def __str__(self) -> str:
        """Returns the agreement as text for users."""
        same = f"{self.same} of {self.pictures} pictures have the same top-1"
        return f"{same}, probabilities differ by at most {self.difference:.2g}"


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one variant that was tried.

    Attributes:
        variant: the variant.
        agreement: agreement with the reference; None if it cannot be run, or is the reference.
        failure: why it may not be chosen; empty if it may.
        speeds: images a second by batch size; empty if it was not timed.
        memory_bytes: memory that it holds, about.
    """

    variant: Variant
    agreement: Agreement | None = None
    failure: str = ""
    speeds: Mapping[int, float] | None = None
    memory_bytes: int = 0


def compare(answers: Sequence[Probabilities], reference: Sequence[Probabilities]) -> Agreement:
    """Compares two variants' answers to the same pictures."""
    pairs = list(zip(answers, reference, strict=True))
    same = sum(_top_1(ours) == _top_1(theirs) for ours, theirs in pairs)
    differences = [abs(a - b) for ours, theirs in pairs for a, b in zip(ours, theirs, strict=True)]
    # `max` ignores NaN
    return Agreement(same, len(pairs), max(differences) if all(map(math.isfinite, differences)) else math.nan)


def most_confident(answers: Sequence[Probabilities]) -> list[int]:
    """Returns the indices of the pictures with the largest lead of the first class over the second, in ascending order.

    Of generated pictures only these are compared: a network may be uncertain about pictures unlike its training data,
    and where float32 is nearly undecided, a different answer says nothing about the variant.
    """

    def lead(place: int) -> float:
        first, second = (sorted(answers[place], reverse=True) + [0.0])[:2]
        return first - second

    return sorted(sorted(range(len(answers)), key=lead, reverse=True)[:_MAX_COMPARED])


def choose(trials: Sequence[Trial]) -> Trial:
    """Returns the fastest of the trials that may be chosen; the first of them if none is sufficiently faster.

    Args:
        trials: at least one that has no failure; if there are several, these are timed.
    """
    first, *others = [trial for trial in trials if not trial.failure]
    worthwhile = [trial for trial in others if _gain(trial, first) >= _least_gain(trial, first)]
    return max(worthwhile, key=lambda trial: _gain(trial, first), default=first)


def reason(chosen: Trial, trials: Sequence[Trial]) -> str:
    """Returns why a variant was chosen, in one sentence: the other variants, compared with it."""
    return "; ".join(_describe(trial, chosen) for trial in trials if trial is not chosen)


def images_per_second(
    runs: Mapping[Variant, Mapping[int, Callable[[], object]]], clock: Callable[[], float]
) -> dict[Variant, dict[int, float]]:
    """Measures throughputs in turns, so that a slow phase of the machine affects all of them alike.

    Args:
        runs: for each variant, the runs by their number of images; they are warm.
        clock: time in seconds.
    """
    best = {variant: dict.fromkeys(sizes, math.inf) for variant, sizes in runs.items()}
    ends = clock() + _LONGEST_TIMING_SECONDS
    for done in range(_TIMED_ROUNDS):
        if done and clock() >= ends:
            break
        for variant, sizes in runs.items():
            for size, run in sizes.items():
                started = clock()
                run()
                best[variant][size] = min(best[variant][size], max(clock() - started, 1e-9))
    return {variant: {size: size / seconds for size, seconds in sizes.items()} for variant, sizes in best.items()}


def _top_1(answer: Probabilities) -> int:
    return max(range(len(answer)), key=lambda index: (answer[index], -index))


def _gain(trial: Trial, other: Trial) -> float:
    """Returns how many times as fast a trial is, as the geometric mean over the batch sizes."""
    speeds, others = trial.speeds or {}, other.speeds or {}
    return math.exp(sum(math.log(speeds[size] / others[size]) for size in speeds) / len(speeds))


def _least_gain(trial: Trial, first: Trial) -> float:
    is_large = trial.memory_bytes - first.memory_bytes > _MUCH_MEMORY_BYTES
    return _GAIN_WORTH_MUCH_MEMORY if is_large else _WORTHWHILE_GAIN


def _describe(trial: Trial, chosen: Trial) -> str:
    """Describes a trial that was not chosen."""
    if trial.failure:
        return f"{trial.variant} {trial.failure}"
    pace = _gain(chosen, trial)
    agreement = chosen.agreement or trial.agreement
    speeds = ", ".join(
        f"{(chosen.speeds or {})[size]:.0f} and {speed:.0f} images a second in batches of {size}"
        for size, speed in (trial.speeds or {}).items()
    )
    return f"{chosen.variant} is {pace:.2f} times as fast as {trial.variant} ({speeds}; {agreement})"
