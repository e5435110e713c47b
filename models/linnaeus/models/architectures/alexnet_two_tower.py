"""AlexNet split over two devices (Krizhevsky et al., 2012), as in source document 000."""

import torch
from torch import Tensor, nn


class Tower(nn.Module):
    """A sequence of layers on one device; `forward` copies the input to that device.

    The device is read from the weights at each call and not stored. The tower therefore follows the network when it is
    moved, and its TorchScript names no device.
    """

    def __init__(self, convolution: nn.Conv2d, *others: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.others = nn.Sequential(*others)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [N, C, H, W] on any device to feature maps on the tower's device."""
        maps: Tensor = self.others(self.convolution(x.to(self.convolution.weight.device)))
        return maps


class AlexNetTwoTower(nn.Module):
    """Maps float32 [N, 3, 224, 224] to logits [N, classes]; 61,186,408 parameters with 1000 classes.

    Each tower has convolutions of 48 and 128 channels below the exchange, and of 192, 192 and 128 channels above it.
    At the exchange, the first tower receives the 256 channels of both towers; the second receives those and its own
    128 again, as the source document has it.

    Args:
        classes: number of logits.
        first: device of the first tower and of the dense layers, and so of the logits; torch's default if None.
        second: device of the second tower; `first` if None.
    """

    def __init__(
        self, classes: int = 1000, first: torch.device | None = None, second: torch.device | None = None
    ) -> None:
        super().__init__()
        other = first if second is None else second
        self.lower1 = _lower().to(first)
        self.lower2 = _lower().to(other)
        self.upper1 = _upper(128 + 128).to(first)
        self.upper2 = _upper(128 + 256).to(other)
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(),
            nn.Linear(2 * 128 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, classes),
        ).to(first)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, 224, 224] to logits [N, classes]."""
        one, two = self.lower1(images), self.lower2(images)
        joined = torch.cat([one, two.to(one.device)], dim=1)
        exchanged = torch.cat([two, joined.to(two.device)], dim=1)
        one, two = self.upper1(joined), self.upper2(exchanged)
        logits: Tensor = self.classifier(torch.cat([one, two.to(one.device)], dim=1))
        return logits


def _lower() -> Tower:
    """Builds the layers below the exchange: [N, 3, 224, 224] to [N, 128, 13, 13]."""
    return Tower(
        nn.Conv2d(3, 48, 11, stride=4, padding=2),
        nn.ReLU(),
        nn.LocalResponseNorm(5),
        nn.MaxPool2d(3, 2),
        nn.Conv2d(48, 128, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )


def _upper(inputs: int) -> Tower:
    """Builds the layers above the exchange: [N, inputs, 13, 13] to [N, 128, 6, 6]."""
    return Tower(
        nn.Conv2d(inputs, 192, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(192, 192, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(192, 128, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )
