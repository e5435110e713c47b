"""A precision is selected only if it agrees with float32 and is faster."""

import math
from collections.abc import Sequence

import numpy
import pytest

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.precision import Probabilities
from linnaeus.server.runtime.precision_selection import ComparisonPictures, select_precision
from linnaeus.server.runtime.runner import Pixels

BLANK = numpy.zeros((1, 1, 1), numpy.uint8)
# The answers of float32 in the selection tests; it is hardly confident about the second picture.
FLOAT32_ANSWERS = [[0.6, 0.4], [0.505, 0.495]]


class FakeModel:
    """A model with given answers and durations; each batch advances the clock."""

    def __init__(self, clock: "Clock", seconds: float, answers: Sequence[Probabilities]) -> None:
        self.max_batch_size = 4
        self.clock, self.seconds, self.answers = clock, seconds, answers
        self.warm_ups, self.closed = 0, False

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        return self.answers[: len(images)]

    def run_largest(self) -> None:
        self.clock.now += self.seconds

    def warm(self) -> None:
        self.warm_ups += 1

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def select(wanted: str, **others: tuple[float, Sequence[Probabilities]]) -> tuple[str, str, dict[str, FakeModel]]:
    clock = Clock()
    fakes = {name: FakeModel(clock, *of) for name, of in {"float32": (1.0, FLOAT32_ANSWERS), **others}.items()}
    opens = {name: lambda fake=fake: fake for name, fake in fakes.items()}  # type: ignore[misc]
    chosen = select_precision(wanted, opens, ComparisonPictures([BLANK] * 2, []), clock)
    assert {name for name, fake in fakes.items() if not fake.closed} == {chosen.precision}
    assert chosen.model is fakes[chosen.precision] and chosen.model.warm_ups == 1
    return chosen.precision, chosen.reason, fakes


def test_auto_selects_the_fastest_precision_that_agrees_and_closes_the_others() -> None:
    alike = [[0.59, 0.41], [0.51, 0.49]]
    precision, reason, _ = select("auto", bfloat16=(0.5, alike), float16=(0.4, alike))
    assert precision == "float16" and "2.50 times" in reason and "2 of 2 pictures" in reason


@pytest.mark.parametrize(
    ("seconds", "answers", "why"),
    [
        (
            0.1,
            [[0.59, 0.41], [0.495, 0.505]],
            "1 of 2 pictures have the same top-1, probabilities differ by at most 0.0100",
        ),
        (
            0.1,
            [[0.59, 0.41], [0.535, 0.465]],
            "2 of 2 pictures have the same top-1, probabilities differ by at most 0.0300",
        ),
        (0.1, [[0.59, 0.41], [math.nan, 0.4]], "does not agree"),
        (0.96, FLOAT32_ANSWERS, "1.04 times"),
    ],
    ids=["another first class", "probabilities apart", "no numbers", "hardly faster"],
)
def test_auto_keeps_float32_and_gives_the_reason(seconds: float, answers: Sequence[Probabilities], why: str) -> None:
    precision, reason, _ = select("auto", bfloat16=(seconds, answers))
    assert precision == "float32" and why in reason


def test_auto_keeps_float32_if_the_other_precision_cannot_be_run() -> None:
    def refused() -> FakeModel:
        raise ModelRefused("no such instruction")

    plain = FakeModel(Clock(), 1.0, [[0.6, 0.4]])
    chosen = select_precision(
        "auto", {"float32": lambda: plain, "bfloat16": refused}, ComparisonPictures([BLANK], []), plain.clock
    )
    assert chosen.model is plain and "bfloat16 cannot be run (no such instruction)" in chosen.reason


def test_a_requested_precision_is_used_however_slow_and_its_agreement_reported() -> None:
    precision, reason, fakes = select("float16", float16=(9.0, [[0.4, 0.6]] * 2))
    assert precision == "float16" and "0 of 2 pictures" in reason and fakes["float32"].warm_ups == 0


def test_a_requested_precision_is_refused_if_its_answers_are_not_finite() -> None:
    with pytest.raises(ModelRefused, match=r"precision float16 gives answers that are no numbers"):
        select("float16", float16=(0.1, [[math.inf, 0.0]] * 2))
