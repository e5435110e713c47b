"""Trains sampled networks briefly and measures their errors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.architectures.anynet import Stage, anynet
from linnaeus.models.design_space.sampling import Space
from linnaeus.models.inspection.cost import Cost, measure_cost
from linnaeus.models.training import Digits

_CLASSES = 10


@dataclass(frozen=True, slots=True)
class TrainingRegime:
    """How briefly each network is trained: as many of the training set's images, and of the test set's to judge by.

    SGD with momentum, the learning rate falling along half a cosine, as in the paper.
    """

    epochs: int = 2
    images: int = 5000
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-5

    def __post_init__(self) -> None:
        # Batch norm has no deviation to divide by where the last stage's 1x1 map meets a batch of one.
        if self.epochs < 1 or self.images < 2 or self.batch_size < 2:
            raise ValueError(f"training needs at least 1 epoch, 2 images and batches of 2, but is {self}")


@dataclass(frozen=True, slots=True)
class SampledNetwork:
    """One network of a space, what it costs for a 28x28 digit, and its share of wrong answers after training."""

    stages: tuple[Stage, ...]
    cost: Cost
    error: float


def train_and_evaluate(
    stages: tuple[Stage, ...], training: Digits, test: Digits, regime: TrainingRegime
) -> SampledNetwork:
    """Trains a network of these stages from its seeded initialisation and measures its error.

    The same images, in the same order, teach every network of one regime.
    """
    torch.manual_seed(regime.seed)
    network = anynet(stages, _CLASSES, channels=1)
    generator = torch.Generator().manual_seed(regime.seed)
    _train(network, _subset(training, regime.images, generator), regime, generator)
    error = _error_rate(network.eval(), _subset(test, regime.images, generator))
    return SampledNetwork(stages, measure_cost(network, (1, 28, 28)), error)


def error_distribution(samples: Sequence[SampledNetwork]) -> list[tuple[float, float]]:
    """The empirical distribution function's steps: each error, ascending, with the share of networks up to it."""
    errors = sorted(sample.error for sample in samples)
    return [(error, place / len(errors)) for place, error in enumerate(errors, 1)]


def results_as_json(spaces: dict[Space, list[SampledNetwork]], regime: TrainingRegime) -> dict[str, object]:
    """Everything drawn and measured, as plain data."""
    return {
        "data": "MNIST",
        "torch": str(torch.__version__),
        "brief": asdict(regime),
        "spaces": {space.value: [asdict(sample) for sample in samples] for space, samples in spaces.items()},
    }


def _subset(data: Digits, images: int, generator: torch.Generator) -> Digits:
    places = torch.randperm(len(data.classes), generator=generator)[:images]
    return Digits(data.pixels[places], data.classes[places])


def _train(network: nn.Module, data: Digits, regime: TrainingRegime, generator: torch.Generator) -> None:
    optimizer = torch.optim.SGD(
        network.parameters(), regime.learning_rate, regime.momentum, weight_decay=regime.weight_decay, nesterov=True
    )
    steps = max(1, len(data.classes) // regime.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * regime.epochs)
    network.train()
    for _ in range(regime.epochs):
        order = torch.randperm(len(data.classes), generator=generator)
        for places in order.tensor_split(steps):
            loss = functional.cross_entropy(network(_normalize(data.pixels[places])), data.classes[places])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _error_rate(network: nn.Module, data: Digits) -> float:
    wrong = 0
    with torch.inference_mode():
        for pixels, classes in zip(torch.split(data.pixels, 500), torch.split(data.classes, 500), strict=True):
            wrong += int((network(_normalize(pixels)).argmax(1) != classes).sum())
    return wrong / len(data.classes)


def _normalize(pixels: Tensor) -> Tensor:
    """MNIST's mean and deviation taken out."""
    return (pixels.to(torch.float32) / 255 - 0.1307) / 0.3081
