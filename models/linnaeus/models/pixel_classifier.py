"""The classifier that is exported: a network with normalization before it and an activation after it."""

import warnings
from typing import Final

import torch
from torch import Tensor, nn

from linnaeus.models.activation import Activation
from linnaeus.models.zoo_model import ModelWeights, ZooModel

# TorchScript is deprecated upstream but works, and this project serves it. All modules that use it import this one, so
# the warning is silenced here only.
warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)


class PixelClassifier(nn.Module):
    """Maps uint8 [N, C, H, W] to float32 probabilities [N, classes].

    It names no device and no dtype: pixels are cast to the dtype of the buffers, so that the server can move and cast
    the module as a whole. The activation is always computed in float32. The branches on it are decided when the module
    is scripted, and are not in the TorchScript.
    """

    softmax: Final[bool]
    sigmoid: Final[bool]

    def __init__(
        self,
        backbone: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        activation: Activation = Activation.SOFTMAX,
    ) -> None:
        super().__init__()
        self.softmax = activation is Activation.SOFTMAX
        self.sigmoid = activation is Activation.SIGMOID
        self.scale: Tensor
        self.shift: Tensor
        self.backbone = backbone
        scale, shift = scale_and_shift(mean, std)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W] to float32 [N, classes]; the rows sum to 1 after a softmax."""
        return self.activated(self.backbone(self.normalized(pixels)))

    def normalized(self, pixels: Tensor) -> Tensor:
        """Returns the input of the backbone for uint8 [N, C, H, W]."""
        return pixels.to(self.scale.dtype) * self.scale + self.shift

    def activated(self, logits: Tensor) -> Tensor:
        """Returns the probabilities of outputs of the backbone, float32 [N, classes]."""
        outputs = logits.to(torch.float32)
        if self.softmax:
            return torch.softmax(outputs, dim=1)
        if self.sigmoid:
            return torch.sigmoid(outputs)
        return outputs


def normalize(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Normalizes uint8 [N, C, H, W] to float32 of the same shape, the input of a backbone."""
    scale, shift = scale_and_shift(mean, std)
    return pixels.to(torch.float32) * scale + shift


def scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Returns (pixel / 255 - mean) / std as a factor and a summand, both float32 [1, C, 1, 1]."""
    means = torch.tensor(mean).view(1, -1, 1, 1)
    deviations = torch.tensor(std).view(1, -1, 1, 1)
    return 1.0 / (255.0 * deviations), -means / deviations


def eager_classifier(
    model: ZooModel,
    weights: ModelWeights,
    classes: int | None = None,
    activation: Activation = Activation.SOFTMAX,
) -> PixelClassifier:
    """Builds a model with weights, in evaluation mode; `classes` is the model's own number if None."""
    backbone = model.build(classes or model.classes)
    backbone.load_state_dict(weights.state)
    return PixelClassifier(backbone, model.mean, model.std, activation).eval()
