"""The network for MNIST of source document 001: four 3x3 convolutions with batch norm, three dense layers."""

from torch import Tensor, nn


class MnistCNN(nn.Module):
    """Maps float32 [N, 1, 28, 28] to logits [N, classes]; 2,328,298 parameters with ten classes."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.layer1 = _stage(1, 16)
        self.layer2 = _stage(16, 32, nn.MaxPool2d(2))
        self.layer3 = _stage(32, 64)
        self.layer4 = _stage(64, 128, nn.MaxPool2d(2))
        # The source document has no ReLU between the last two layers.
        self.fc = nn.Sequential(
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 1024),
            nn.ReLU(),
            nn.Linear(1024, 128),
            nn.Linear(128, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 1, 28, 28] to logits [N, classes]."""
        maps = self.layer4(self.layer3(self.layer2(self.layer1(images))))
        logits: Tensor = self.fc(maps)
        return logits


def _stage(inputs: int, outputs: int, *pooling: nn.Module) -> nn.Sequential:
    """Convolution without padding (output 2 pixels smaller in height and width), batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.ReLU(), *pooling)
