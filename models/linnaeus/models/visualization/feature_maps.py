"""What the stages of a network are, and what comes out of each for one picture.

The rule is the same for every network and needs no list of names. The network is run once; a module in which the
resolution (height x width) falls more than once from part to part holds several stages and is opened, as is whatever
holds it; every other module is a stage. This gives ResNet's `layer1` to `layer4`, DenseNet's blocks and transitions,
GoogLeNet's Inception blocks, and the single layers of AlexNet, LeNet and VGG. Left out are modules that change
nothing (dropout, identity, padding, adaptive pooling to the size that comes in) and those whose output has no height
and width.

An Inception block is any module with the parts `branch1` to `branch4`, wherever it lies. Its branches are stages of
their own; where a stage is such a block or a sequence that ends in one, they stand for it, because its output is only
the four laid one on another.
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
    """What one stage gave for one picture.

    Attributes:
        name: the module's path in the network, numbered from the second time on if it ran more than once.
        kind: the module's class.
        values: float32 [C, H, W].
    """

    name: str
    kind: str
    values: Tensor


def find_stages(network: nn.Module, images: Tensor) -> tuple[str, ...]:
    """Paths of the stages in the order in which they finish; Inception blocks are whole here.

    Args:
        network: in evaluation mode.
        images: float32 [N, C, H, W], as the network takes them.
    """
    sizes: list[tuple[str, int]] = []
    _run_with_hooks(
        network,
        images,
        [name for name, _ in network.named_modules() if name],
        lambda name, values: sizes.append((name, values.shape[-2] * values.shape[-1])),
    )
    opened = _multi_stage_modules(sizes)
    ran = {name for name, _ in sizes}
    return tuple(
        name
        for name in dict.fromkeys(name for name, _ in sizes)
        if name not in opened and _parent(name, ran) in opened and not is_passthrough(network.get_submodule(name))
    )


def feature_maps(network: nn.Module, images: Tensor, stages: Iterable[str]) -> tuple[FeatureMap, ...]:
    """Runs the network and returns what `stages` give for the first image, branches in place of Inception blocks."""
    drawn = {name for stage in stages for name in _modules_to_draw(network, stage)}
    maps: list[FeatureMap] = []

    def collect(name: str, values: Tensor) -> None:
        times = 1 + sum(known.name.split(" ")[0] == name for known in maps)
        kind = type(network.get_submodule(name)).__name__
        # A copy, because the layer behind may work in place, as a ReLU often does.
        maps.append(FeatureMap(name if times == 1 else f"{name} ({times})", kind, values[0].float().clone()))

    _run_with_hooks(network, images, drawn, collect)
    return tuple(maps)


def is_inception(module: nn.Module) -> bool:
    """Whether the module has four branches of the usual names."""
    return all(isinstance(getattr(module, branch, None), nn.Module) for branch in BRANCHES)


def is_passthrough(module: nn.Module) -> bool:
    """Whether a trained network's maps pass through the module as they are, but for padding."""
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
    """Modules with several stages; the network itself, whose path is empty, always is one."""
    ran = {name for name, _ in sizes}
    parts: dict[str, list[int]] = {}
    for name, size in sizes:
        parts.setdefault(_parent(name, ran), []).append(size)
    opened = {""}
    for name, areas in parts.items():
        # a rise is padding before a strided convolution, and no stage
        if sum(after < before for before, after in pairwise(areas)) > 1:
            opened.update(_ancestors(name, ran))
    return opened


def _ancestors(name: str, ran: set[str]) -> Iterable[str]:
    while name:
        yield name
        name = _parent(name, ran)


def _parent(name: str, ran: set[str]) -> str:
    """The nearest module above that ran itself (a ModuleList does not); empty for the network."""
    name = name.rpartition(".")[0]
    while name and name not in ran:
        name = name.rpartition(".")[0]
    return name


def _run_with_hooks(
    network: nn.Module, images: Tensor, names: Iterable[str], on_output: Callable[[str, Tensor], None]
) -> None:
    """Runs the network; tells every [N, C, H, W] that one of the named modules gives, when it gives it."""

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            # VGG and AlexNet pool to the size that they have, for pictures of other sizes' sake
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
