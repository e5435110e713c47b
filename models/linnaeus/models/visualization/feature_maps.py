"""Finds the stages of a network and records the feature map of each for one image.

One rule, without a list of names, serves every network. The network is run once. A module in which the resolution
(height x width) decreases more than once from child to child contains several stages; so do all modules that contain
it. Their children that do not contain several stages are the stages. This gives ResNet's `layer1` to `layer4`,
DenseNet's blocks and transitions, GoogLeNet's Inception blocks, and the single layers of AlexNet, LeNet and VGG.
Excluded are modules that pass their input through (dropout, identity, padding, adaptive pooling to the input's size)
and outputs without height and width.

An Inception block is any module with children `branch1` to `branch4`. Its branches are drawn as stages. They replace a
stage that is such a block, or a `Sequential` that ends in one, because the block's output is their concatenation.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

BRANCHES = ("branch1", "branch2", "branch3", "branch4")
_PASSTHROUGH_CLASSES = ("Dropout", "Identity", "Pad")


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The output of one stage for one image.

    Attributes:
        name: the module's path in the network; from its second run on, followed by the number of the run.
        kind: name of the module's class.
        values: float32 [C, H, W].
    """

    name: str
    kind: str
    values: Tensor


def find_stages(network: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Returns the paths of the stages in the order in which they finish; an Inception block is one stage here.

    Args:
        network: in evaluation mode.
        images: normalized float32 [N, C, H, W].
    """
    sizes: list[tuple[str, int]] = []
    _run_with_hooks(
        network,
        images,
        [name for name, _ in network.named_modules() if name],
        lambda name, values: sizes.append((name, values.shape[-2] * values.shape[-1])),
    )
    containers = _multi_stage_modules(sizes)
    ran = {name for name, _ in sizes}
    return tuple(
        name
        for name in dict.fromkeys(name for name, _ in sizes)
        if name not in containers
        and _parent(name, ran) in containers
        and not is_passthrough(network.get_submodule(name))
    )


def feature_maps(network: nn.Module, images: Tensor, stages: Iterable[str]) -> tuple[FeatureMap, ...]:
    """Runs the network and returns the outputs of `stages` for the first image, with Inception blocks as branches."""
    drawn = {name for stage in stages for name in _modules_to_draw(network, stage)}
    maps: list[FeatureMap] = []

    def collect(name: str, values: Tensor) -> None:
        run = 1 + sum(earlier.name.split(" ")[0] == name for earlier in maps)
        kind = type(network.get_submodule(name)).__name__
        # A copy, because the next layer may work in place, as ReLU often does.
        maps.append(FeatureMap(name if run == 1 else f"{name} ({run})", kind, values[0].float().clone()))

    _run_with_hooks(network, images, drawn, collect)
    return tuple(maps)


def is_inception(module: nn.Module) -> bool:
    """Returns whether the module has children `branch1` to `branch4`."""
    return all(isinstance(getattr(module, branch, None), nn.Module) for branch in BRANCHES)


def is_passthrough(module: nn.Module) -> bool:
    """Returns whether the module leaves its input unchanged in evaluation mode, padding aside."""
    return any(word in type(module).__name__ for word in _PASSTHROUGH_CLASSES)


def _modules_to_draw(network: nn.Module, stage: str) -> list[str]:
    module = network.get_submodule(stage)
    blocks = [f"{stage}.{name}".rstrip(".") for name, part in module.named_modules() if is_inception(part)]
    branches = [f"{block}.{branch}" for block in blocks for branch in BRANCHES]
    return branches if _ends_in_inception(module) else [*branches, stage]


def _ends_in_inception(module: nn.Module) -> bool:
    while isinstance(module, nn.Sequential) and len(module):
        module = module[-1]
    return is_inception(module)


def _multi_stage_modules(sizes: list[tuple[str, int]]) -> set[str]:
    """Returns the paths of modules that contain several stages; always the network itself, whose path is empty."""
    ran = {name for name, _ in sizes}
    parts: dict[str, list[int]] = {}
    for name, size in sizes:
        parts.setdefault(_parent(name, ran), []).append(size)
    containers = {""}
    for name, areas in parts.items():
        # an increase comes from padding before a strided convolution and starts no stage
        if sum(after < before for before, after in pairwise(areas)) > 1:
            containers.update(_ancestors(name, ran))
    return containers


def _ancestors(name: str, ran: set[str]) -> Iterable[str]:
    while name:
        yield name
        name = _parent(name, ran)


def _parent(name: str, ran: set[str]) -> str:
    """Returns the closest ancestor whose `forward` ran (a ModuleList has none); empty for the network."""
    name = name.rpartition(".")[0]
    while name and name not in ran:
        name = name.rpartition(".")[0]
    return name


def _run_with_hooks(
    network: nn.Module, images: Tensor, names: Iterable[str], on_output: Callable[[str, Tensor], None]
) -> None:
    """Runs the network; calls `on_output` with each [N, C, H, W] that one of the named modules returns."""

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            # VGG and AlexNet pool to the size that the input already has, to accept images of other sizes
            if isinstance(module, nn.AdaptiveAvgPool2d) and inputs[0].shape == output.shape:
                return
            for values in output if isinstance(output, tuple | list) else (output,):
                if isinstance(values, Tensor) and values.ndim == 4:
                    on_output(name, values)

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name in names:
            hooks.callback(network.get_submodule(name).register_forward_hook(make_hook(name)).remove)
        network(images)
