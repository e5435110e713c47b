"""A variant is selected only if it agrees with the reference and is faster."""

import math
from collections.abc import Sequence
from functools import partial

import numpy
import pytest

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.out_of_memory import OutOfMemory
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.variant_selection import ComparisonPictures, select_variant
from linnaeus.server.runtime.variants import AUTO, FLOAT32, Probabilities, Requested, Variant

BLANK = numpy.zeros((1, 1, 1), numpy.uint8)
# The answers of the reference; it is hardly confident about the second picture.
RIGHT_ANSWERS = [[0.6, 0.4], [0.505, 0.495]]
TORCH, OPENVINO = Variant("torchscript", FLOAT32), Variant("openvino", FLOAT32)
TORCH_HALF, OPENVINO_HALF = Variant("torchscript", "bfloat16"), Variant("openvino", "bfloat16")
BOTH = Requested(AUTO, AUTO)
TWO = ComparisonPictures([BLANK] * 2, [])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class FakeModel:
    """A model with given answers and durations; each batch advances the clock."""

    def __init__(
        self, clock: Clock, seconds: float = 1.0, answers: Sequence[Probabilities] = RIGHT_ANSWERS, fits: int = 8
    ) -> None:
        self.clock, self.seconds, self.answers, self.fits = clock, seconds, answers, fits
        self.memory_bytes, self.timed_sizes = 0, (1, 8)
        self.warm_ups, self.closed = 0, False

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        return self.answers[: len(images)]

    def run(self, size: int) -> None:
        if size > self.fits:
            raise OutOfMemory
        self.clock.now += self.seconds

    def warm(self) -> None:
        self.warm_ups += 1

    def close(self) -> None:
        self.closed = True


class Selection:
    """One selection among fakes; the first is the reference, unless another is given."""

    def __init__(self, requested: Requested, reference: FakeModel | None = None) -> None:
        self.requested, self.clock = requested, Clock()
        self.fakes: dict[Variant, FakeModel | ModelRefused] = {}
        self.reference = reference

    def add(self, variant: Variant, seconds: float = 1.0, answers: Sequence[Probabilities] = RIGHT_ANSWERS) -> None:
        self.fakes[variant] = FakeModel(self.clock, seconds, answers)

    def select(self) -> tuple[Variant, str, str]:
        openers = {variant: partial(self._open, variant) for variant in self.fakes}
        first = next(iter(openers.values()))
        reference = self.reference
        chosen = select_variant(
            self.requested, first if reference is None else lambda: reference, openers, TWO, self.clock
        )
        models = [each for each in [*self.fakes.values(), reference] if isinstance(each, FakeModel)]
        assert [each for each in models if not each.closed] == [chosen.model]
        assert chosen.model.warm_ups == 1 and sum(each.warm_ups for each in models) == 1
        return chosen.variant, chosen.runtime_reason, chosen.precision_reason

    def _open(self, variant: Variant) -> FakeModel:
        found = self.fakes[variant]
        if isinstance(found, ModelRefused):
            raise found
        return found


def test_auto_selects_the_fastest_variant_that_agrees_and_closes_the_others() -> None:
    selection = Selection(BOTH)
    selection.add(TORCH, 1.0)
    selection.add(OPENVINO, 0.5)
    selection.add(OPENVINO_HALF, 0.4, [[0.59, 0.41], [0.51, 0.49]])
    variant, why, _ = selection.select()
    assert variant == OPENVINO_HALF and "2.50 times as fast as torchscript in float32" in why and "2 of 2" in why


@pytest.mark.parametrize(
    ("seconds", "answers", "why"),
    [
        (0.1, [[0.59, 0.41], [0.495, 0.505]], "1 of 2 pictures have the same top-1"),
        (0.1, [[0.6002, 0.3998], [0.505, 0.495]], "2 of 2 pictures have the same top-1"),
        (0.1, [[0.6, 0.4], [math.nan, 0.4]], "does not agree"),
        (0.96, RIGHT_ANSWERS, "0.96 times as fast"),
    ],
    ids=["another first class", "probabilities apart", "no numbers", "hardly faster"],
)
def test_auto_keeps_torchscript_and_gives_the_reason(
    seconds: float, answers: Sequence[Probabilities], why: str
) -> None:
    selection = Selection(Requested(AUTO, FLOAT32))
    selection.add(TORCH)
    selection.add(OPENVINO, seconds, answers)
    variant, reason, precision_reason = selection.select()
    assert variant == TORCH and why in reason and precision_reason == "precision is float32"


def test_what_cannot_be_converted_falls_back_with_one_line_of_log_that_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    selection = Selection(Requested(AUTO, FLOAT32))
    selection.add(TORCH)
    selection.fakes[OPENVINO] = ModelRefused("OpenVINO cannot convert it: no such operation")
    with caplog.at_level("INFO"):
        variant, reason, _ = selection.select()
    assert variant == TORCH and "OpenVINO cannot convert it: no such operation" in reason
    assert [record.message for record in caplog.records] == [
        "not served by openvino in float32: it cannot run it (OpenVINO cannot convert it: no such operation)"
    ]


def test_an_explicit_variant_that_cannot_be_opened_refuses_the_version() -> None:
    selection = Selection(Requested("openvino", FLOAT32))
    selection.fakes[OPENVINO] = ModelRefused("OpenVINO cannot convert it: no")
    with pytest.raises(ModelRefused, match=r"^OpenVINO cannot convert it: no$"):
        selection.select()


def test_a_requested_precision_is_used_however_it_agrees_and_its_agreement_reported() -> None:
    reference = FakeModel(Clock())
    selection = Selection(Requested("torchscript", "bfloat16"), reference)
    selection.add(TORCH_HALF, 9.0, [[0.4, 0.6]] * 2)
    variant, why_runtime, why_precision = selection.select()
    assert (variant, why_runtime) == (TORCH_HALF, "runtime is torchscript") and "0 of 2 pictures" in why_precision
    assert reference.closed and reference.warm_ups == 0


def test_a_requested_precision_is_computed_by_the_faster_runtime() -> None:
    selection = Selection(Requested(AUTO, "bfloat16"), FakeModel(Clock()))
    selection.add(TORCH_HALF, 2.0)
    selection.add(OPENVINO_HALF, 1.0)
    assert selection.select()[0] == OPENVINO_HALF


@pytest.mark.parametrize("variants", [[TORCH_HALF], [TORCH_HALF, OPENVINO_HALF]], ids=["one", "two"])
def test_a_requested_precision_is_refused_if_its_answers_are_not_finite(variants: list[Variant]) -> None:
    selection = Selection(Requested(AUTO, "bfloat16"), FakeModel(Clock()))
    for variant in variants:
        selection.add(variant, 0.1, [[math.inf, 0.0]] * 2)
    with pytest.raises(ModelRefused, match=r"bfloat16 (gives answers that are no numbers|does not agree)"):
        selection.select()


def test_variants_are_compared_in_the_batch_sizes_that_fit_into_memory() -> None:
    selection = Selection(Requested(AUTO, FLOAT32))
    selection.fakes = {TORCH: FakeModel(selection.clock, fits=1), OPENVINO: FakeModel(selection.clock, 0.5)}
    variant, why, _ = selection.select()
    assert variant == OPENVINO and "batches of 1" in why and "batches of 8" not in why
