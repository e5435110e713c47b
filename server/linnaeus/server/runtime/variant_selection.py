"""Opens the variants of a version, keeps the fastest that agrees with the reference, and closes the others.

This module owns the order: open, compare with the reference, time in turns, warm up the one that is kept. The caller
opens and warms up models; `variants` decides.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Generic, Protocol, TypeAlias, TypeVar

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.out_of_memory import FAILURES, OutOfMemory, error_summary
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.variants import (
    AUTO,
    FLOAT32,
    Agreement,
    Probabilities,
    Requested,
    Trial,
    Variant,
    choose,
    compare,
    images_per_second,
    most_confident,
    reason,
)

logger = logging.getLogger(__name__)


class VariantModel(Protocol):
    """A model in one variant, ready to run."""

    @property
    def memory_bytes(self) -> int:
        """The memory that it holds, about."""

    @property
    def timed_sizes(self) -> Sequence[int]:
        """The batch sizes that variants are timed at."""

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        """Returns each picture's probabilities, by class index."""

    def run(self, size: int) -> None:
        """Runs a batch of blank images."""

    def warm(self) -> None:
        """Warms the model up."""

    def close(self) -> None:
        """Frees the buffers; idempotent."""


M = TypeVar("M", bound=VariantModel)
# Opens a model, or raises the error that prevents it.
OpenVariant: TypeAlias = Callable[[], M]


@dataclass(frozen=True, slots=True)
class ComparisonPictures:
    """The pictures for comparing variants: the version's recorded ones, or else the most confident generated ones."""

    recorded: Sequence[Pixels]
    drawn: Sequence[Pixels]

    @property
    def kind(self) -> str:
        """The kind of pictures, as text for users."""
        return "recorded pictures" if self.recorded else "generated pictures, because the version recorded none"


@dataclass(frozen=True, slots=True)
class Selected(Generic[M]):
    """A warm model in the selected variant, and why its runtime and its precision were selected."""

    model: M
    variant: Variant
    runtime_reason: str
    precision_reason: str


def select_variant(
    requested: Requested,
    reference: OpenVariant[M],
    candidates: Mapping[Variant, OpenVariant[M]],
    pictures: ComparisonPictures,
    clock: Callable[[], float],
) -> Selected[M]:
    """Opens, compares, times and warms up models; all but the returned one are closed.

    Args:
        requested: what the operator asks for.
        reference: opens the model whose answers are right; may be one of the candidates.
        candidates: what may be selected, at least one; the first is kept if none is sufficiently faster. If there are
            several, each may fail, except the reference.
        pictures: the pictures for comparing answers.
        clock: time in seconds.

    Raises:
        ModelRefused: if no candidate can be run.
        RuntimeError, torch.jit.Error: if the model failed.
    """
    opened: list[M] = []
    kept: M | None = None
    try:
        selected = _Selection(requested, candidates, pictures, clock, opened).select(reference)
        kept = selected.model
        kept.warm()
        return selected
    finally:
        for each in opened:
            if each is not kept:
                each.close()


class _Reference(Generic[M]):
    """The answers of the reference to the pictures that are compared."""

    def __init__(self, model: M, pictures: ComparisonPictures) -> None:
        self.model = model
        self.kind = pictures.kind
        self._images = list(pictures.recorded or pictures.drawn)
        self._answers = list(model.probabilities(self._images))
        if not pictures.recorded:
            places = most_confident(self._answers)
            self._images = [self._images[place] for place in places]
            self._answers = [self._answers[place] for place in places]

    def compare(self, other: M) -> Agreement:
        """Returns the agreement of another variant with the reference."""
        return compare(other.probabilities(self._images), self._answers)


class _Selection(Generic[M]):
    """One call of `select_variant`."""

    def __init__(
        self,
        requested: Requested,
        candidates: Mapping[Variant, OpenVariant[M]],
        pictures: ComparisonPictures,
        clock: Callable[[], float],
        opened: list[M],
    ) -> None:
        self._requested = requested
        self._candidates = candidates
        self._pictures = pictures
        self._clock = clock
        self._opened = opened
        self._models: dict[Variant, M] = {}

    def select(self, open_reference: OpenVariant[M]) -> Selected[M]:
        (first, opener), *others = self._candidates.items()
        if not others and opener is open_reference:
            return self._selected(self._open(opener), Trial(first), [], "")
        reference = _Reference(self._open(open_reference), self._pictures)
        if not others:
            return self._only(first, opener, reference)
        trials = [self._try(variant, opener, reference, open_reference) for variant, opener in self._candidates.items()]
        if not self._models:
            raise ModelRefused("; ".join(f"{trial.variant} {trial.failure}" for trial in trials))
        trials = self._timed(trials)
        chosen = choose(trials)
        for trial in trials:
            if trial.failure:
                logger.info("not served by %s: it %s", trial.variant, trial.failure)
        return self._selected(self._models[chosen.variant], chosen, trials, reference.kind)

    def _open(self, opener: OpenVariant[M]) -> M:
        self._opened.append(opener())
        return self._opened[-1]

    def _only(self, variant: Variant, opener: OpenVariant[M], reference: _Reference[M]) -> Selected[M]:
        model = self._open(opener)
        agreement = reference.compare(model)
        if not agreement.is_finite:
            raise ModelRefused(
                f"precision {variant.precision} gives answers that are no numbers, where float32's are; use another one"
            )
        return self._selected(model, Trial(variant, agreement), [], reference.kind)

    def _try(
        self, variant: Variant, opener: OpenVariant[M], reference: _Reference[M], open_reference: OpenVariant[M]
    ) -> Trial:
        if opener is open_reference:
            self._models[variant] = reference.model
            return Trial(variant, memory_bytes=reference.model.memory_bytes)
        try:
            model = self._open(opener)
            agreement = reference.compare(model)
        except (ModelRefused, *FAILURES) as error:
            return Trial(variant, failure=f"cannot run it ({error_summary(error)})")
        if not agreement.holds(variant, self._requested):
            return Trial(variant, agreement, f"does not agree ({agreement})")
        self._models[variant] = model
        return Trial(variant, agreement, memory_bytes=model.memory_bytes)

    def _timed(self, trials: list[Trial]) -> list[Trial]:
        """Returns the trials with their speeds; a lone model needs no timing."""
        if len(self._models) < 2:
            return trials
        sizes = min(map(_prepared_sizes, self._models.values()), key=len)
        runs = {variant: {size: partial(model.run, size) for size in sizes} for variant, model in self._models.items()}
        speeds = images_per_second(runs, self._clock)
        return [replace(trial, speeds=speeds.get(trial.variant)) for trial in trials]

    def _selected(self, model: M, chosen: Trial, trials: Sequence[Trial], kind: str) -> Selected[M]:
        variant = chosen.variant
        automatic = f"auto: {reason(chosen, trials)}; {kind}" if len(trials) > 1 else "auto: there is no other"
        is_rounded = variant.precision != FLOAT32
        compared = f" ({chosen.agreement}; {kind})" if chosen.agreement and is_rounded else ""
        return Selected(
            model,
            variant,
            automatic if self._requested.runtime == AUTO else f"runtime is {variant.runtime}",
            automatic if self._requested.precision == AUTO else f"precision is {variant.precision}{compared}",
        )


def _prepared_sizes(model: VariantModel) -> list[int]:
    """Runs a model once in each timed size, which prepares it; returns the sizes that memory suffices for.

    Raises:
        OutOfMemory: if it does not suffice for the smallest.
    """
    prepared: list[int] = []
    for size in model.timed_sizes:
        try:
            model.run(size)
        except OutOfMemory:
            if not prepared:
                raise
            break
        prepared.append(size)
    return prepared
