"""Networks small enough to check by hand."""

import torch
from torch import Tensor, nn

from linnaeus.models import labels
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ModelWeights, ZooModel

COLOUR = InputSpec(channels=3, height=16, width=16, resize=16, interpolation="bilinear")


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for number in range(1, 5):
            self.add_module(f"branch{number}", nn.Conv2d(8, number + 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.children()], 1)


class TinyGoogLeNet(nn.Module):
    """As the real ones: layers that work in place, Inception blocks, global pooling, a convolution as classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.MaxPool2d(2), Inception(), nn.Conv2d(14, 8, 1), nn.MaxPool2d(2), Inception())
        self.dropout = nn.Dropout()
        self.tail = nn.MaxPool2d(2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Conv2d(14, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.tail(self.dropout(self.body(self.relu(self.conv(images)))))
        logits: Tensor = self.classifier(self.pool(x)).flatten(1)
        return logits


class Towers(nn.Module):
    """Two towers of which each sees one half; they meet in the classifier only."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 4, 3, padding=1)
        self.right = nn.Conv2d(3, 4, 3, padding=1)
        self.classifier = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        halves = [torch.relu(tower(images)).mean((2, 3)) for tower in (self.left, self.right)]
        logits: Tensor = self.classifier(torch.cat(halves, 1))
        return logits


def tiny(build: type[nn.Module]) -> tuple[ZooModel, ModelWeights]:
    """A model that is not in the zoo, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build(10)
    row = ZooModel("tiny", "Tiny", 2026, build, COLOUR, (0.5,) * 3, (0.25,) * 3, labels.digits)
    return row, ModelWeights(network.state_dict(), "random", 1)


def colours() -> Tensor:
    return torch.randint(0, 256, (1, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
