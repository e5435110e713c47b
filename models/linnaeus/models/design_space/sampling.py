"""Design spaces: small networks drawn from them, trained briefly, and judged together (source document 003).

Radosavovic et al., "Designing Network Design Spaces", 2020, judge a space by the empirical distribution function of
its networks' errors. Here the networks are small, and the data is MNIST. Drawing pictures of it is another room's.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from random import Random

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.architectures.anynet import Cost, Stage, anynet, measure_cost
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.training import Digits

STAGES = 4
BOTTLENECK_RATIOS = (1, 2, 4)
GROUP_WIDTHS = (1, 2, 4, 8)
# The paper draws up to 16 blocks of up to 1024 channels a stage; a two-core machine draws these.
MAX_DEPTH = 4
MAX_WIDTH = 64
_WIDTH_STEP = 8
_CLASSES = 10


class Space(StrEnum):
    """What is narrowed from one space to the next; each keeps the restrictions of the one before it."""

    A = "A"
    """Depth, width, bottleneck ratio and group width are free in each of the four stages."""
    B = "B"
    """All stages share one bottleneck ratio."""
    C = "C"
    """All stages share one group width."""
    D = "D"
    """Widths never decrease from stage to stage."""
    E = "E"
    """Depths never decrease from stage to stage."""
    REGNET = "regnet"
    """Widths follow RegNet's quantised line, the bottleneck ratio is 1, and stages share one group width."""

    def includes_restriction(self, restriction: "Space") -> bool:
        """Whether the networks of this space A to E keep that restriction as well."""
        return self >= restriction


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


def sample_stages(space: Space, random: Random) -> tuple[Stage, ...]:
    """Draws the four stages of one network; sizes are drawn log-uniformly, as in the paper."""
    if space is Space.REGNET:
        return _sample_regnet(random)
    ratios = _choose_per_stage(random, BOTTLENECK_RATIOS, shared=space.includes_restriction(Space.B))
    groups = _choose_per_stage(random, GROUP_WIDTHS, shared=space.includes_restriction(Space.C))
    steps = [math.lcm(_WIDTH_STEP, ratio * group) for ratio, group in zip(ratios, groups, strict=True)]
    widths = [_log_uniform(random, MAX_WIDTH, step) for step in steps]
    depths = [_log_uniform(random, MAX_DEPTH) for _ in range(STAGES)]
    if space.includes_restriction(Space.D):
        # ratio and group are shared by now, so that any stage may have any of the widths
        widths.sort()
    if space.includes_restriction(Space.E):
        depths.sort()
    return tuple(map(Stage, depths, widths, map(float, ratios), groups))


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


def _sample_regnet(random: Random) -> tuple[Stage, ...]:
    """Draws parameters until they make four stages within the limits, as the paper does; one in several does."""
    while True:
        parameters = RegNetParameters(
            depth=random.randint(STAGES, STAGES * MAX_DEPTH),
            initial_width=_log_uniform(random, MAX_WIDTH // 2, _WIDTH_STEP),
            slope=math.exp(random.uniform(0, math.log(MAX_WIDTH))),
            width_multiplier=random.uniform(1.5, 3),
            group_width=random.choice(GROUP_WIDTHS),
        )
        stages = parameters.stages()
        if len(stages) == STAGES and all(s.depth <= MAX_DEPTH and s.width <= MAX_WIDTH for s in stages):
            return stages


def _choose_per_stage(random: Random, values: Sequence[int], shared: bool) -> list[int]:
    """One of the values for each stage."""
    return [random.choice(values)] * STAGES if shared else random.choices(values, k=STAGES)


def _log_uniform(random: Random, largest: int, step: int = 1) -> int:
    """A multiple of `step` from `step` to `largest`, small ones more often."""
    drawn = math.exp(random.uniform(math.log(step), math.log(largest + step)))
    return min(int(drawn) // step * step, largest // step * step)


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
