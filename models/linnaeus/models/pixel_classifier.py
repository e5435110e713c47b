"""The artifact: TorchScript that maps uint8 pixels to float32 probabilities, normalisation and softmax inside."""

import warnings

import torch
from torch import Tensor, nn

from linnaeus.models.zoo_model import ModelWeights, ZooModel

# TorchScript is deprecated upstream but works, and it is what this project serves; this is the zoo's one place
# that silences it.
warnings.filterwarnings("ignore", message=r".*torch\.jit.*", category=FutureWarning)


class PixelClassifier(nn.Module):
    """A backbone with its numerics: uint8 [N, C, H, W] in, float32 probabilities [N, classes] out.

    Nothing in it names a device or a precision: pixels are cast to whatever type the buffers have, so that the
    server may move and cast the whole. The softmax is always float32.
    """

    def __init__(self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.scale: Tensor
        self.shift: Tensor
        self.backbone = backbone
        scale, shift = _scale_and_shift(mean, std)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, pixels: Tensor) -> Tensor:
        """Maps uint8 [N, C, H, W] to float32 [N, classes]; each row sums to 1."""
        normalized = pixels.to(self.scale.dtype) * self.scale + self.shift
        return torch.softmax(self.backbone(normalized).to(torch.float32), dim=1)


def normalize(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """What a backbone is given: uint8 [N, C, H, W] to float32 of the same shape."""
    scale, shift = _scale_and_shift(mean, std)
    return pixels.to(torch.float32) * scale + shift


def _scale_and_shift(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """(pixel / 255 - mean) / std, as one multiplication and one addition; both float32 [1, C, 1, 1]."""
    means = torch.tensor(mean).view(1, -1, 1, 1)
    deviations = torch.tensor(std).view(1, -1, 1, 1)
    return 1.0 / (255.0 * deviations), -means / deviations


def eager_classifier(model: ZooModel, weights: ModelWeights, classes: int | None = None) -> PixelClassifier:
    """Builds a model with its weights, in evaluation mode; `classes` if not the model's own."""
    backbone = model.build(classes or model.classes)
    backbone.load_state_dict(weights.state)
    return PixelClassifier(backbone, model.mean, model.std).eval()
