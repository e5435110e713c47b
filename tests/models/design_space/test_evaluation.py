"""Sampled networks are trained and evaluated repeatably."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from tests.models.design_space.synthetic_digits import bright_or_dark, noise
from torch import Tensor
from torch.nn import functional

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.design_space.evaluation import (
    SampledNetwork,
    TrainingRegime,
    error_distribution,
    train_and_evaluate,
)
from linnaeus.models.inspection.cost import Cost
from linnaeus.models.training import Digits

SMALL = (Stage(1, 8),)


def counted(loss: Callable[..., Tensor], batches: list[int]) -> Callable[..., Tensor]:
    def counting(logits: Tensor, classes: Tensor) -> Tensor:
        batches.append(len(classes))
        return loss(logits, classes)

    return counting


@pytest.mark.slow
def test_training_and_evaluation_are_repeatable() -> None:
    training, test = bright_or_dark(64), bright_or_dark(20)
    regime = TrainingRegime(epochs=12, images=64, batch_size=16)
    first = train_and_evaluate(SMALL, training, test, regime)
    torch.rand(1)
    assert train_and_evaluate(SMALL, training, test, regime) == first
    assert first.error == 0.0
    wrong_classes = Digits(test.pixels, 9 - test.classes)
    assert train_and_evaluate(SMALL, training, wrong_classes, regime).error == 1.0


def test_training_uses_the_given_number_of_images_and_no_batch_of_one() -> None:
    test = bright_or_dark(3)
    result = train_and_evaluate(SMALL * 4, bright_or_dark(40), test, TrainingRegime(epochs=1, images=17, batch_size=8))
    assert result.error in (0, 1 / 3, 2 / 3, 1)
    with pytest.raises(ValueError, match="at least 1 epoch, 2 images and batches of 2"):
        TrainingRegime(images=1)


def test_the_regimes_seed_alone_decides_the_error() -> None:
    # 500 images of noise: two initializations hardly ever have the same error
    regime = TrainingRegime(epochs=1, images=500, batch_size=250)
    errors = set()
    for before in (1, 2, 3, 4):
        torch.manual_seed(before)
        errors.add(train_and_evaluate(SMALL, noise(500), noise(500), regime).error)
    assert len(errors) == 1
    assert {
        train_and_evaluate(SMALL, noise(500), noise(500), replace(regime, seed=seed)).error for seed in (1, 2)
    } != errors


@pytest.mark.parametrize("images", [7, 11])
def test_training_and_evaluation_use_the_regimes_number_of_images(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    result = train_and_evaluate(
        SMALL, bright_or_dark(60), noise(60), TrainingRegime(epochs=1, images=images, batch_size=2)
    )
    assert result.error * images == pytest.approx(round(result.error * images))
    trained_batches = []
    monkeypatch.setattr(functional, "cross_entropy", counted(functional.cross_entropy, trained_batches))
    train_and_evaluate(SMALL, bright_or_dark(60), noise(60), TrainingRegime(epochs=3, images=images, batch_size=2))
    assert sum(trained_batches) == 3 * images


def test_the_error_distribution_has_one_step_per_sample() -> None:
    samples = [SampledNetwork(SMALL, Cost(1, 1, 1), error) for error in (0.5, 0.1, 0.5, 0.2)]
    assert error_distribution(samples) == [(0.1, 0.25), (0.2, 0.5), (0.5, 0.75), (0.5, 1.0)]
