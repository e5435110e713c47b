"""Trains sampled networks briefly on MNIST and measures their errors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.architectures.anynet import Stage, anynet
from linnaeus.models.design_space.spaces import Space
from linnaeus.models.inspection.cost import Cost, measure_cost
from linnaeus.models.training import Digits

_CLASSES = 10


@dataclass(frozen=True, slots=True)
class TrainingRegime:
    """How each network is trained: SGD with momentum and half a cosine as learning-rate schedule, as in the paper.

    `images` is the number of training images, and of test images.

    Raises:
        ValueError: if there are too few epochs or images.
    """

    epochs: int = 2
    images: int = 5000
    seed: int = 0
    batch_size: int = 64
    learning_rate: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-5

    def __post_init__(self) -> None:
        # With a batch of one and the 1x1 maps of the last stage, batch norm has one value per channel and no variance.
        if self.epochs < 1 or self.images < 2 or self.batch_size < 2:
            raise ValueError(f"training needs at least 1 epoch, 2 images and batches of 2, but is {self}")


@dataclass(frozen=True, slots=True)
class SampledNetwork:
    """A network of a space with its cost for a 28x28 digit and its test error, between 0 and 1, after training."""

    stages: tuple[Stage, ...]
    cost: Cost
    error: float


def train_and_evaluate(
    stages: tuple[Stage, ...], training: Digits, test: Digits, regime: TrainingRegime
) -> SampledNetwork:
    """Trains a network of these stages and measures its test error.

    The regime's seed decides the initialization, the images and their order.
    """
    torch.manual_seed(regime.seed)
    network = anynet(stages, _CLASSES, channels=1)
    generator = torch.Generator().manual_seed(regime.seed)
    _train(network, _subset(training, regime.images, generator), regime, generator)
    error = _error_rate(network.eval(), _subset(test, regime.images, generator))
    return SampledNetwork(stages, measure_cost(network, (1, 28, 28)), error)


def error_distribution(samples: Sequence[SampledNetwork]) -> list[tuple[float, float]]:
    """Returns the steps of the empirical distribution function: (error, share of networks up to it), ascending."""
    errors = sorted(sample.error for sample in samples)
    return [(error, rank / len(errors)) for rank, error in enumerate(errors, 1)]


def results_as_json(spaces: dict[Space, list[SampledNetwork]], regime: TrainingRegime) -> dict[str, object]:
    """Returns all samples and their errors as data for `json.dumps`."""
    return {
        "data": "MNIST",
        "torch": str(torch.__version__),
        "brief": asdict(regime),
        "spaces": {space.value: [asdict(sample) for sample in samples] for space, samples in spaces.items()},
    }


def _subset(data: Digits, images: int, generator: torch.Generator) -> Digits:
    indices = torch.randperm(len(data.classes), generator=generator)[:images]
    return Digits(data.pixels[indices], data.classes[indices])


def _train(network: nn.Module, data: Digits, regime: TrainingRegime, generator: torch.Generator) -> None:
    optimizer = torch.optim.SGD(
        network.parameters(), regime.learning_rate, regime.momentum, weight_decay=regime.weight_decay, nesterov=True
    )
    steps = max(1, len(data.classes) // regime.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * regime.epochs)
    network.train()
    for _ in range(regime.epochs):
        order = torch.randperm(len(data.classes), generator=generator)
        for indices in order.tensor_split(steps):
            loss = functional.cross_entropy(network(_normalize(data.pixels[indices])), data.classes[indices])
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
    """Normalizes by the mean and standard deviation of MNIST's training pixels."""
    return (pixels.to(torch.float32) / 255 - 0.1307) / 0.3081
