"""Tiny networks of three classes for pictures of 8 x 8, each of them wrong in one way or none."""

import torch
from torch import Tensor, nn

EXAMPLE = torch.zeros(1, 3, 8, 8)


class Tiny(nn.Module):
    """Gives logits, and is right."""

    def __init__(self, classes: int = 3, channels: int = 3) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)
        )

    def forward(self, images: Tensor) -> Tensor:
        return 3 * self.layers(images)


class Softmaxed(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.layers(images), 1)


class LogSoftmaxed(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return torch.log_softmax(self.layers(images), 1)


class Sigmoid(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(images))


class Squeezed(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)[:, 0]


class Auxiliary(Tiny):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(images), self.layers(images)


class Named(Tiny):
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layers(images)}


class Map(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers[0](images)


class ChannelsLast(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.permute(0, 3, 1, 2))


class OneByOne(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.reshape(1, 3, 8, 8))


class Flattened(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).reshape(1, -1)


class Neighbors(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images - images.mean(0, keepdim=True))


class Dropout(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return torch.dropout(self.layers(images), 0.5, True)


class Constant(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images * 0)


class Zeros(Tiny):
    """As its head was before the training."""

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) * 0


class Particular(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        if images.shape[3] != 7:
            raise ValueError("pictures must be 7 wide")
        return self.layers(images)


class Small(Tiny):
    """Gives logits that lie between 0 and 1 by chance."""

    def forward(self, images: Tensor) -> Tensor:
        return 0.3 + 0.1 * torch.tanh(self.layers(images))


class NotANumber(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) / 0.0


class Placed(Tiny):
    """Names a device once it is traced."""

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.to("cpu"))


class Elsewhere(Tiny):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) + torch.ones(3, device="meta")


def scripted(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.script(network.eval())


def traced(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network.eval(), EXAMPLE)


def frozen(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.freeze(scripted(network))


def traced_in_half(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network.eval(), EXAMPLE.half())
