"""Brings a version into the precision that is wanted, or with `auto` into the best one; closes what it does not take.

It owns the order of things: open, compare with float32, warm up, time against float32. How a model is opened and
warmed up is the caller's, and what speaks for a precision is `precision`'s.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeAlias, TypeVar

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact import FAILURES
from linnaeus.server.runtime.out_of_memory import error_summary
from linnaeus.server.runtime.precision import (
    FLOAT32,
    Agreement,
    Probabilities,
    Trial,
    choose_precision,
    compare,
    images_per_second,
    most_confident,
)
from linnaeus.server.runtime.runner import Pixels


class PrecisionCandidate(Protocol):
    """A model that can run, in one precision."""

    @property
    def max_batch_size(self) -> int:
        """The largest batch."""

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        """Each picture's probabilities, by class index."""

    def run_largest(self) -> None:
        """Runs a batch of the largest size."""

    def warm(self) -> None:
        """Warms it up: its largest batch is then the one to form."""

    def close(self) -> None:
        """Frees what batches needed; may be called twice."""


M = TypeVar("M", bound=PrecisionCandidate)
# Opens a model, or raises what made that impossible.
OpenCandidate: TypeAlias = Callable[[], M]


@dataclass(frozen=True, slots=True)
class ComparisonPictures:
    """What answers are compared by: what the version recorded if it recorded any, or else the surest of drawn ones."""

    recorded: Sequence[Pixels]
    drawn: Sequence[Pixels]

    @property
    def kind(self) -> str:
        """In a word or two."""
        return "recorded pictures" if self.recorded else "drawn pictures, for the version recorded none"


@dataclass(frozen=True, slots=True)
class SelectedPrecision(Generic[M]):
    """A model that is ready, in the precision that was selected, and why it is that one."""

    model: M
    precision: str
    reason: str


def select_precision(
    wanted: str, opens: Mapping[str, OpenCandidate[M]], pictures: ComparisonPictures, clock: Callable[[], float]
) -> SelectedPrecision[M]:
    """Opens, compares and warms up; whatever is not returned is closed.

    Args:
        wanted: float32, bfloat16, float16 or auto.
        opens: float32, and what is wanted or may be chosen; all but float32 may fail with `auto`.
        pictures: to compare answers by.
        clock: seconds.

    Raises:
        ModelRefused: what is wanted cannot be had.
        RuntimeError, torch.jit.Error: the model failed.
    """
    opened: list[M] = []
    taken: M | None = None
    try:
        plain = _open(opens[FLOAT32], opened)
        if wanted == FLOAT32:
            plain.warm()
            selected = SelectedPrecision(plain, FLOAT32, "precision is float32")
        elif wanted in opens:
            selected = _select_wanted(wanted, opens[wanted], _Reference(plain, pictures), opened)
        else:
            selected = _select_fastest(opens, _Reference(plain, pictures), clock, opened)
        taken = selected.model
        return selected
    finally:
        for each in opened:
            if each is not taken:
                each.close()


class _Reference(Generic[M]):
    """What float32 answers to the pictures that count."""

    def __init__(self, plain: M, pictures: ComparisonPictures) -> None:
        self.plain = plain
        self.kind = pictures.kind
        self._images = list(pictures.recorded or pictures.drawn)
        self._answers = list(plain.probabilities(self._images))
        if not pictures.recorded:
            places = most_confident(self._answers)
            self._images = [self._images[place] for place in places]
            self._answers = [self._answers[place] for place in places]

    def compare(self, other: M) -> Agreement:
        """How another precision compares with it."""
        return compare(other.probabilities(self._images), self._answers)


def _open(opens: OpenCandidate[M], opened: list[M]) -> M:
    opened.append(opens())
    return opened[-1]


def _select_wanted(
    wanted: str, opens: OpenCandidate[M], reference: _Reference[M], opened: list[M]
) -> SelectedPrecision[M]:
    model = _open(opens, opened)
    agreement = reference.compare(model)
    if not agreement.is_finite:
        raise ModelRefused(
            f"precision {wanted} gives answers that are no numbers, where float32's are; use another one"
        )
    model.warm()
    return SelectedPrecision(model, wanted, f"precision is {wanted} ({agreement}; {reference.kind})")


def _select_fastest(
    opens: Mapping[str, OpenCandidate[M]], reference: _Reference[M], clock: Callable[[], float], opened: list[M]
) -> SelectedPrecision[M]:
    reference.plain.warm()
    models = {FLOAT32: reference.plain}
    tried: list[Trial] = []
    for name in [each for each in opens if each != FLOAT32]:
        try:
            model = _open(opens[name], opened)
            agreement = reference.compare(model)
            if agreement.holds:
                model.warm()
                models[name] = model
            tried.append(Trial(name, agreement=agreement))
        except (ModelRefused, *FAILURES) as error:
            tried.append(Trial(name, failure=error_summary(error)))
    rates = images_per_second({name: (each.max_batch_size, each.run_largest) for name, each in models.items()}, clock)
    choice = choose_precision(
        rates[FLOAT32], [replace(trial, images_per_second=rates.get(trial.precision, 0.0)) for trial in tried]
    )
    return SelectedPrecision(models[choice.precision], choice.precision, f"{choice.reason}; {reference.kind}")
