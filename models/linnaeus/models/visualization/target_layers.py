"""Selects the target layers of Grad-CAM: for a stage that ends in pooling, the layer before the pooling.

The layer is found by the identity of tensors during one run, so the order in which modules are registered is
irrelevant.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from linnaeus.models.visualization.feature_maps import is_passthrough


@dataclass(frozen=True, slots=True)
class _RecordedRun:
    """The (path, output) of each module in the order in which they finish, and the (input, output) of each pooling."""

    outputs: list[tuple[str, Any]] = field(default_factory=list)
    poolings: list[tuple[Any, Any]] = field(default_factory=list)


def target_layers(network: nn.Module, run: Callable[[], object], stages: Iterable[str]) -> tuple[str, ...]:
    """Replaces each stage that ends in pooling by the module whose output is pooled; removes duplicates.

    A stage is kept if the pooled tensor is not the output of a module, but computed in `forward`.

    Args:
        network: in evaluation mode.
        run: runs the network on one image.
        stages: paths of modules of the network.
    """
    paths, recorded = tuple(stages), _record_run(network, run)
    return tuple(dict.fromkeys(_layer_before_pooling(stage, paths, recorded) for stage in paths))


def is_pooling(module: nn.Module) -> bool:
    """Returns whether the module is a pooling layer, judged by the name of its class."""
    return "Pool" in type(module).__name__


def _record_run(network: nn.Module, run: Callable[[], object]) -> _RecordedRun:
    recorded = _RecordedRun()

    def make_hook(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not is_passthrough(module):
                recorded.outputs.append((name, output))
            if is_pooling(module):
                recorded.poolings.append((inputs[0], output))

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(make_hook(name)).remove)
        run()
    return recorded


def _layer_before_pooling(stage: str, stages: tuple[str, ...], recorded: _RecordedRun) -> str:
    values = dict(recorded.outputs).get(stage)
    for before, after in recorded.poolings:
        producers = [name for name, output in recorded.outputs if output is before]
        if after is values and producers:
            return _layer_before_pooling(_choose(producers, stages), stages, recorded)
    return stage


def _choose(producers: list[str], stages: tuple[str, ...]) -> str:
    """Chooses among modules that return the same tensor, as a parent of a layer does, or an in-place ReLU."""
    return next((name for name in producers if name in stages), producers[-1])
