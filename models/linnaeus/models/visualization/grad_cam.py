"""Grad-CAM (Selvaraju et al., 2017): which regions of an image contribute to a class.

Each channel of a late feature map is weighted by the gradient of the class's logit, averaged over the map. The positive
part of the weighted sum is the evidence for the class. For a network that ends in a convolution to class maps and
global pooling, this is the map of the class.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.visualization.target_layers import is_pooling, target_layers


@dataclass(frozen=True, slots=True)
class HeatMap:
    """The evidence for a class at each pixel.

    Attributes:
        values: float32 [H, W] of the image, from 0 to 1. The maximum is 1, or 0 if there is no evidence at all.
        stages: paths of the modules from whose feature maps it is computed.
    """

    values: Tensor
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Activation:
    stage: str
    values: Tensor


def grad_cam(classifier: PixelClassifier, pixels: Tensor, stages: Iterable[str], class_index: int) -> HeatMap:
    """Computes the heat map of a class from the last feature maps: those that reach the logits through no other one.

    This is one map for most networks, and one per tower in a network with several. 1x1 maps are excluded, because they
    have no position. For a stage that ends in pooling, the layer before the pooling is used, because its map is finer.

    Args:
        classifier: in evaluation mode.
        pixels: one image, uint8 [1, C, H, W].
        stages: paths of modules of the backbone.
        class_index: the class to explain.

    Raises:
        ValueError: if no stage gives a usable map.
    """
    layers = target_layers(classifier.backbone, lambda: classifier(pixels), stages)
    activations, logits = _run_with_leaves(classifier, pixels, layers)
    if not activations:
        raise ValueError("no stage of the network gives a map with height and width, so there is no heat map of it")
    gradients = torch.autograd.grad(logits[0, class_index], [each.values for each in activations], allow_unused=True)
    last = [(each, gradient) for each, gradient in zip(activations, gradients, strict=True) if gradient is not None]
    evidence = [_class_activation(each.values.detach(), gradient, pixels.shape[2:]) for each, gradient in last]
    total = torch.stack(evidence).sum(0)
    highest = total.max().clamp(min=torch.finfo(total.dtype).tiny)
    return HeatMap(total / highest, tuple(each.stage for each, _ in last))


def _class_activation(values: Tensor, gradients: Tensor, size: torch.Size) -> Tensor:
    """Returns the evidence in one feature map, float32 [H, W] of the image."""
    evidence = functional.relu((gradients.mean(dim=(2, 3), keepdim=True) * values).sum(1, keepdim=True))
    return functional.interpolate(evidence, size=list(size), mode="bilinear", align_corners=False)[0, 0]


def _run_with_leaves(
    classifier: PixelClassifier, pixels: Tensor, stages: Iterable[str]
) -> tuple[list[_Activation], Tensor]:
    """Runs the network; returns the stages' outputs, each a new leaf of the autograd graph, and the logits."""
    activations: list[_Activation] = []
    logits: list[Tensor] = []

    def record_logits(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        logits.append(output)

    backbone = classifier.backbone
    with ExitStack() as hooks, torch.enable_grad():
        for stage in stages:
            hooks.callback(backbone.get_submodule(stage).register_forward_hook(_leaf_hook(stage, activations)).remove)
        hooks.callback(backbone.register_forward_hook(record_logits).remove)
        classifier(pixels)
    return activations, logits[-1]


def _leaf_hook(stage: str, activations: list[_Activation]) -> Any:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            return None
        if is_pooling(module):
            return None
        leaf = output.detach().requires_grad_()
        activations.append(_Activation(stage, leaf))
        # A copy, because the next layer may work in place, which is not allowed on a leaf.
        return leaf.clone()

    return hook
