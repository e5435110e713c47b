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

from linnaeus.models.architectures.anynet import Cost, Stage, anynet, cost
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.training import Digits

STAGES = 4
BOTTLENECK_RATIOS = (1, 2, 4)
GROUP_WIDTHS = (1, 2, 4, 8)
# The paper draws up to 16 blocks of up to 1024 channels a stage; a two-core machine draws these.
LARGEST_DEPTH = 4
LARGEST_WIDTH = 64
_WIDTH_STEP = 8
_CLASSES = 10


class Space(StrEnum):
    """What is narrowed from one space to the next; each keeps what the one before it asked for."""

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

    def asks_for(self, narrowing: "Space") -> bool:
        """Whether the networks of this space A to E keep that narrowing as well."""
        return self >= narrowing


@dataclass(frozen=True, slots=True)
class Brief:
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
class Sample:
    """One network of a space, what it costs for a 28x28 digit, and its share of wrong answers after training."""

    stages: tuple[Stage, ...]
    cost: Cost
    error: float


def sample(space: Space, random: Random) -> tuple[Stage, ...]:
    """Draws the four stages of one network; sizes are drawn log-uniformly, as in the paper."""
    if space is Space.REGNET:
        return _sample_regnet(random)
    ratios = _choose(random, BOTTLENECK_RATIOS, shared=space.asks_for(Space.B))
    groups = _choose(random, GROUP_WIDTHS, shared=space.asks_for(Space.C))
    steps = [math.lcm(_WIDTH_STEP, ratio * group) for ratio, group in zip(ratios, groups, strict=True)]
    widths = [_log_uniform(random, LARGEST_WIDTH, step) for step in steps]
    depths = [_log_uniform(random, LARGEST_DEPTH) for _ in range(STAGES)]
    if space.asks_for(Space.D):
        # ratio and group are shared by now, so that any stage may have any of the widths
        widths.sort()
    if space.asks_for(Space.E):
        depths.sort()
    return tuple(map(Stage, depths, widths, map(float, ratios), groups))


def judge(stages: tuple[Stage, ...], training: Digits, test: Digits, brief: Brief) -> Sample:
    """Trains a network of these stages from its seeded initialisation and measures its error.

    The same images, in the same order, teach every network of one brief.
    """
    torch.manual_seed(brief.seed)
    network = anynet(stages, _CLASSES, channels=1)
    generator = torch.Generator().manual_seed(brief.seed)
    _train(network, _part(training, brief.images, generator), brief, generator)
    error = _error(network.eval(), _part(test, brief.images, generator))
    return Sample(stages, cost(network, (1, 28, 28)), error)


def distribution(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """The empirical distribution function's steps: each error, ascending, with the share of networks up to it."""
    errors = sorted(sample.error for sample in samples)
    return [(error, place / len(errors)) for place, error in enumerate(errors, 1)]


def record(spaces: dict[Space, list[Sample]], brief: Brief) -> dict[str, object]:
    """Everything drawn and measured, as plain data."""
    return {
        "data": "MNIST",
        "torch": str(torch.__version__),
        "brief": asdict(brief),
        "spaces": {space.value: [asdict(sample) for sample in samples] for space, samples in spaces.items()},
    }


def _sample_regnet(random: Random) -> tuple[Stage, ...]:
    """Draws parameters until they make four stages within the limits, as the paper does; one in several does."""
    while True:
        parameters = RegNetParameters(
            depth=random.randint(STAGES, STAGES * LARGEST_DEPTH),
            initial_width=_log_uniform(random, LARGEST_WIDTH // 2, _WIDTH_STEP),
            slope=math.exp(random.uniform(0, math.log(LARGEST_WIDTH))),
            width_multiplier=random.uniform(1.5, 3),
            group_width=random.choice(GROUP_WIDTHS),
        )
        stages = parameters.stages()
        if len(stages) == STAGES and all(s.depth <= LARGEST_DEPTH and s.width <= LARGEST_WIDTH for s in stages):
            return stages


def _choose(random: Random, values: Sequence[int], shared: bool) -> list[int]:
    """One of the values for each stage."""
    return [random.choice(values)] * STAGES if shared else random.choices(values, k=STAGES)


def _log_uniform(random: Random, largest: int, step: int = 1) -> int:
    """A multiple of `step` from `step` to `largest`, small ones more often."""
    drawn = math.exp(random.uniform(math.log(step), math.log(largest + step)))
    return min(int(drawn) // step * step, largest // step * step)


def _part(data: Digits, images: int, generator: torch.Generator) -> Digits:
    places = torch.randperm(len(data.classes), generator=generator)[:images]
    return Digits(data.pixels[places], data.classes[places])


def _train(network: nn.Module, data: Digits, brief: Brief, generator: torch.Generator) -> None:
    optimizer = torch.optim.SGD(
        network.parameters(), brief.learning_rate, brief.momentum, weight_decay=brief.weight_decay, nesterov=True
    )
    steps = max(1, len(data.classes) // brief.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps * brief.epochs)
    network.train()
    for _ in range(brief.epochs):
        order = torch.randperm(len(data.classes), generator=generator)
        for places in order.tensor_split(steps):
            loss = functional.cross_entropy(network(_normalised(data.pixels[places])), data.classes[places])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()


def _error(network: nn.Module, data: Digits) -> float:
    wrong = 0
    with torch.inference_mode():
        for pixels, classes in zip(torch.split(data.pixels, 500), torch.split(data.classes, 500), strict=True):
            wrong += int((network(_normalised(pixels)).argmax(1) != classes).sum())
    return wrong / len(data.classes)


def _normalised(pixels: Tensor) -> Tensor:
    """MNIST's mean and deviation taken out."""
    return (pixels.to(torch.float32) / 255 - 0.1307) / 0.3081
