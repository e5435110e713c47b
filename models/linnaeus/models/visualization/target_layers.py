"""Finds what was pooled, so that a heat map need not be as coarse as what came out of the pooling.

Tensors are followed by identity during one run, so it does not matter in which order a network registers its parts.
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
    """What modules gave, in the order in which they finished, and the (input, output) of each pooling."""

    given: list[tuple[str, Any]] = field(default_factory=list)
    pooled: list[tuple[Any, Any]] = field(default_factory=list)


def target_layers(network: nn.Module, run: Callable[[], object], stages: Iterable[str]) -> tuple[str, ...]:
    """Puts in place of each stage that ends in pooling the module whose output was pooled; drops repetitions.

    A stage stays where no module gave what was pooled, because `forward` computed it itself.

    Args:
        network: in evaluation mode.
        run: runs the network on one picture.
        stages: paths of modules of the network.
    """
    known, seen = tuple(stages), _record_run(network, run)
    return tuple(dict.fromkeys(_source_layer(stage, known, seen) for stage in known))


def is_pooling(module: nn.Module) -> bool:
    """Whether the module only pools, by the name of its class."""
    return "Pool" in type(module).__name__


def _record_run(network: nn.Module, run: Callable[[], object]) -> _RecordedRun:
    seen = _RecordedRun()

    def remember(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not is_passthrough(module):
                seen.given.append((name, output))
            if is_pooling(module):
                seen.pooled.append((inputs[0], output))

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name, module in network.named_modules():
            hooks.callback(module.register_forward_hook(remember(name)).remove)
        run()
    return seen


def _source_layer(stage: str, known: tuple[str, ...], seen: _RecordedRun) -> str:
    values = dict(seen.given).get(stage)
    for before, after in seen.pooled:
        givers = [name for name, output in seen.given if output is before]
        if after is values and givers:
            return _source_layer(_choose(givers, known), known, seen)
    return stage


def _choose(givers: list[str], known: tuple[str, ...]) -> str:
    """One of the modules that gave the very same tensor, as what contains a layer does, or a ReLU in place."""
    return next((name for name in givers if name in known), givers[-1])
