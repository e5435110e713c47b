"""Grad-CAM: where in the picture a network saw a class (Selvaraju et al., 2017).

Each channel of a late feature map is weighted by how much the class's logit grows with it, averaged over the map;
what is positive in the sum speaks for the class. For a network that ends in a convolution to class maps and global
pooling this is the class's own map.
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
    """Where a network saw a class.

    Attributes:
        values: float32 [H, W] like the picture, from 0 to 1; the highest is 1, unless nothing in the picture speaks
            for the class: then all are 0.
        stages: paths of the modules whose feature maps it was computed from.
    """

    values: Tensor
    stages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Activation:
    stage: str
    values: Tensor


def grad_cam(classifier: PixelClassifier, pixels: Tensor, stages: Iterable[str], class_index: int) -> HeatMap:
    """Explains a class by the latest feature maps, those that reach the logits through no other.

    That is one map for most networks, and one a tower where there are several. Maps of a single point say nothing of
    places, and pooled ones less than what they were pooled from: for a stage that ends in pooling, its last part before
    that is taken.

    Args:
        classifier: in evaluation mode.
        pixels: one picture, uint8 [1, C, H, W].
        stages: paths of modules of the backbone.
        class_index: the class to explain.

    Raises:
        ValueError: no stage gives a map that could be used.
    """
    sources = target_layers(classifier.backbone, lambda: classifier(pixels), stages)
    features, logits = _run_with_leaves(classifier, pixels, sources)
    if not features:
        raise ValueError("no stage of the network gives a map with height and width, so there is no heat map of it")
    gradients = torch.autograd.grad(logits[0, class_index], [each.values for each in features], allow_unused=True)
    latest = [(each, gradient) for each, gradient in zip(features, gradients, strict=True) if gradient is not None]
    evidence = [_class_activation(each.values.detach(), gradient, pixels.shape[2:]) for each, gradient in latest]
    heat = torch.stack(evidence).sum(0)
    highest = heat.max().clamp(min=torch.finfo(heat.dtype).tiny)
    return HeatMap(heat / highest, tuple(each.stage for each, _ in latest))


def _class_activation(values: Tensor, gradients: Tensor, size: torch.Size) -> Tensor:
    """What in one feature map speaks for the class, float32 [H, W] like the picture."""
    evidence = functional.relu((gradients.mean(dim=(2, 3), keepdim=True) * values).sum(1, keepdim=True))
    return functional.interpolate(evidence, size=list(size), mode="bilinear", align_corners=False)[0, 0]


def _run_with_leaves(
    classifier: PixelClassifier, pixels: Tensor, stages: Iterable[str]
) -> tuple[list[_Activation], Tensor]:
    """Runs the network; returns the stages' outputs, each a new leaf of the graph, and the logits."""
    features: list[_Activation] = []
    logits: list[Tensor] = []

    def end(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        logits.append(output)

    backbone = classifier.backbone
    with ExitStack() as hooks, torch.enable_grad():
        for stage in stages:
            hooks.callback(backbone.get_submodule(stage).register_forward_hook(_leaf_hook(stage, features)).remove)
        hooks.callback(backbone.register_forward_hook(end).remove)
        classifier(pixels)
    return features, logits[-1]


def _leaf_hook(stage: str, features: list[_Activation]) -> Any:
    def hook(module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[2] * output.shape[3] == 1:
            return None
        if is_pooling(module):
            return None
        leaf = output.detach().requires_grad_()
        features.append(_Activation(stage, leaf))
        # A copy, because the layer behind may work in place, which a leaf does not allow.
        return leaf.clone()

    return hook
