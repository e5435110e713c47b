"""Opens a version in the requested precision, or with `auto` in the best one; closes the others.

This module owns the order: open, compare with float32, warm up, time against float32. The caller opens and warms up
models; `precision` decides.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeAlias, TypeVar

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import FAILURES
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
    """A model in one precision, ready to run."""

    @property
    def max_batch_size(self) -> int:
        """The largest batch size."""

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        """Returns each picture's probabilities, by class index."""

    def run_largest(self) -> None:
        """Runs a batch of the largest size."""

    def warm(self) -> None:
        """Warms the model up; `max_batch_size` is then the largest batch to form."""

    def close(self) -> None:
        """Frees the buffers; idempotent."""


M = TypeVar("M", bound=PrecisionCandidate)
# Opens a model, or raises the error that prevents it.
OpenCandidate: TypeAlias = Callable[[], M]


@dataclass(frozen=True, slots=True)
class ComparisonPictures:
    """The pictures for comparing precisions: the version's recorded ones, or else the most confident generated ones."""

    recorded: Sequence[Pixels]
    drawn: Sequence[Pixels]

    @property
    def kind(self) -> str:
        """The kind of pictures, as text for users."""
        return "recorded pictures" if self.recorded else "generated pictures, because the version recorded none"


@dataclass(frozen=True, slots=True)
class SelectedPrecision(Generic[M]):
    """A warm model in the selected precision, and the reason for the selection."""

    model: M
    precision: str
    reason: str


def select_precision(
    requested: str, openers: Mapping[str, OpenCandidate[M]], pictures: ComparisonPictures, clock: Callable[[], float]
) -> SelectedPrecision[M]:
    """Opens, compares and warms up models; all but the returned one are closed.

    Args:
        requested: float32, bfloat16, float16 or auto.
        openers: float32, and the requested precision or those that may be chosen; with `auto` all but float32 may fail.
        pictures: the pictures for comparing answers.
        clock: time in seconds.

    Raises:
        ModelRefused: if the requested precision is not available.
        RuntimeError, torch.jit.Error: if the model failed.
    """
    opened: list[M] = []
    kept: M | None = None
    try:
        float32_model = _open(openers[FLOAT32], opened)
        if requested == FLOAT32:
            float32_model.warm()
            selected = SelectedPrecision(float32_model, FLOAT32, "precision is float32")
        elif requested in openers:
            selected = _select_requested(requested, openers[requested], _Reference(float32_model, pictures), opened)
        else:
            selected = _select_fastest(openers, _Reference(float32_model, pictures), clock, opened)
        kept = selected.model
        return selected
    finally:
        for each in opened:
            if each is not kept:
                each.close()


class _Reference(Generic[M]):
    """The answers of float32 to the pictures that are compared."""

    def __init__(self, float32_model: M, pictures: ComparisonPictures) -> None:
        self.float32_model = float32_model
        self.kind = pictures.kind
        self._images = list(pictures.recorded or pictures.drawn)
        self._answers = list(float32_model.probabilities(self._images))
        if not pictures.recorded:
            places = most_confident(self._answers)
            self._images = [self._images[place] for place in places]
            self._answers = [self._answers[place] for place in places]

    def compare(self, other: M) -> Agreement:
        """Returns the agreement of another precision with float32."""
        return compare(other.probabilities(self._images), self._answers)


def _open(opener: OpenCandidate[M], opened: list[M]) -> M:
    opened.append(opener())
    return opened[-1]


def _select_requested(
    requested: str, opener: OpenCandidate[M], reference: _Reference[M], opened: list[M]
) -> SelectedPrecision[M]:
    model = _open(opener, opened)
    agreement = reference.compare(model)
    if not agreement.is_finite:
        raise ModelRefused(
            f"precision {requested} gives answers that are no numbers, where float32's are; use another one"
        )
    model.warm()
    return SelectedPrecision(model, requested, f"precision is {requested} ({agreement}; {reference.kind})")


def _select_fastest(
    openers: Mapping[str, OpenCandidate[M]], reference: _Reference[M], clock: Callable[[], float], opened: list[M]
) -> SelectedPrecision[M]:
    reference.float32_model.warm()
    models = {FLOAT32: reference.float32_model}
    trials: list[Trial] = []
    for name in [each for each in openers if each != FLOAT32]:
        try:
            model = _open(openers[name], opened)
            agreement = reference.compare(model)
            if agreement.holds:
                model.warm()
                models[name] = model
            trials.append(Trial(name, agreement=agreement))
        except (ModelRefused, *FAILURES) as error:
            trials.append(Trial(name, failure=error_summary(error)))
    rates = images_per_second({name: (each.max_batch_size, each.run_largest) for name, each in models.items()}, clock)
    choice = choose_precision(
        rates[FLOAT32], [replace(trial, images_per_second=rates.get(trial.precision, 0.0)) for trial in trials]
    )
    return SelectedPrecision(models[choice.precision], choice.precision, f"{choice.reason}; {reference.kind}")
