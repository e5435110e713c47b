"""LeNet with ReLU and max pooling, as in source document 000 (after LeCun et al., 1998)."""

from torch import Tensor, nn


class LeNet(nn.Module):
    """Two 5x5 convolutions and two dense layers; 431,080 parameters with ten classes.

    Maps float32 [N, 1, 28, 28] to logits [N, classes].
    """

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 20, 5),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(20, 50, 5),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(50 * 4 * 4, 500),
            nn.ReLU(),
            nn.Linear(500, classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 1, 28, 28] to logits [N, classes]."""
        logits: Tensor = self.classifier(self.features(images))
        return logits
