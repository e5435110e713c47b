"""Networks to take apart."""

import torch
from torch import Tensor, nn
from torchvision.models import get_model


def torchvision_network(name: str) -> nn.Module:
    if name.startswith("regnet"):  # reads numbers back from tensors while it is built
        return get_model(name, weights=None).to("meta").eval()
    with torch.device("meta"):
        return get_model(name, weights=None).eval()


def image(height: int = 28, channels: int = 1) -> Tensor:
    return torch.rand(2, channels, height, height, generator=torch.Generator().manual_seed(3))


class Branching(nn.Module):
    """Functional arithmetic between its stages, one layer used twice and one not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, (3, 5), stride=(2, 1), padding=(1, 2), groups=1)
        self.grouped = nn.Conv2d(4, 4, 3, groups=2, bias=False)
        self.activation = nn.ReLU()
        self.spare = nn.Linear(7, 7)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.activation(self.grouped(self.activation(self.stem(images)) + 1.0))
        return self.head(maps.mean((2, 3)))
