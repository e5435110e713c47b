"""Classifiers that give features beside probabilities: the numbers that the last layer makes the classes of."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor, nn

from linnaeus.models.activation import Activation
from linnaeus.models.pixel_classifier import PixelClassifier

_TOLERANCE = 1e-5


class FeatureClassifier(PixelClassifier):
    """Maps uint8 [N, C, H, W] to probabilities [N, classes] and features [N, d], both float32.

    Args:
        backbone: gives the logits of the classes and behind them the features, [N, classes + d].
        classes: number of classes.
        mean, std, activation: as of `PixelClassifier`.
    """

    classes: Final[int]

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        activation: Activation,
    ) -> None:
        super().__init__(backbone, mean, std, activation)
        self.classes = classes

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Returns probabilities and features."""
        outputs: Tensor = self.backbone(self.normalized(pixels))
        return self.activated(outputs[:, : self.classes]), outputs[:, self.classes :].to(torch.float32)


class TwoOutputClassifier(PixelClassifier):
    """Maps uint8 [N, C, H, W] to probabilities [N, classes] and features [N, d], both float32.

    Args:
        backbone: gives a tuple, whose first output are the logits.
        features: the place of the features in the tuple, from 1.
        mean, std, activation: as of `PixelClassifier`.
    """

    place: Final[int]

    def __init__(
        self,
        backbone: nn.Module,
        features: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        activation: Activation,
    ) -> None:
        super().__init__(backbone, mean, std, activation)
        self.place = features

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Returns probabilities and features."""
        outputs = self.backbone(self.normalized(pixels))
        return self.activated(outputs[0]), outputs[self.place].to(torch.float32)


class _LayerWithInput(nn.Module):
    """A layer that gives its outputs, and its inputs behind them, [N, outputs + inputs, ...]."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.cat([self.layer(inputs), inputs], dim=1)


def append_features(network: nn.Module, classes: int, images: Tensor) -> None:
    """Changes a network so that it gives the inputs of its last layer behind the logits, [N, classes + d].

    The last layer is the one with weights that runs last of those with an output for each class. Its inputs
    pass beside its outputs through what follows it, so only poolings, activations and reshapes may follow.

    Args:
        network: in evaluation mode.
        classes: number of classes.
        images: an input, float32 [1, C, H, W], with which the order of the layers is seen.

    Raises:
        ValueError: if no layer has an output for each class, or logits and features do not pass unchanged.
    """
    with torch.inference_mode():
        logits = network(images)
    name, inputs = _last_layer(network, classes, images)
    parent, _, own_name = name.rpartition(".")
    setattr(network.get_submodule(parent), own_name, _LayerWithInput(network.get_submodule(name)))
    with torch.inference_mode():
        outputs = network(images)
    features = outputs[:, classes:]
    if not torch.allclose(outputs[:, :classes], logits, atol=_TOLERANCE):
        raise ValueError(f"what follows {name}, the last layer of the network, mixes its inputs, the features, in")
    if inputs.dim() == 2 and not torch.allclose(features, inputs):
        raise ValueError(f"what follows {name}, the last layer of the network, changes its inputs, the features")


def _last_layer(network: nn.Module, classes: int, images: Tensor) -> tuple[str, Tensor]:
    """Returns the name and the input of the last layer that runs and has an output for each class."""
    ran: list[tuple[str, Tensor]] = []

    def recorder(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, inputs: Any, outputs: Any) -> None:
            if outputs.shape[1] == classes:
                ran.append((name, inputs[0].clone()))

        return record

    hooks = [
        module.register_forward_hook(recorder(name)) for name, module in network.named_modules() if _is_layer(module)
    ]
    try:
        with torch.inference_mode():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        raise ValueError("no layer of the network has an output for each class, so it has no features to give")
    return ran[-1]


def _is_layer(module: nn.Module) -> bool:
    """Whether a module computes with weights of its own; a normalization only follows such a module."""
    has_weights = any(True for _ in module.parameters(recurse=False)) or any(
        True for _ in module.buffers(recurse=False)
    )
    return has_weights and not isinstance(module, nn.modules.batchnorm._NormBase)
