"""The computational cost of a network: parameters, multiply-adds and activations."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost for one image; activations are the output elements of all convolutions (source document 003)."""

    parameters: int
    multiply_adds: int
    activations: int

    def __str__(self) -> str:
        """Formats the cost as in "5.50 M parameters, 0.41 G multiply-adds, 3.2 M activations"."""
        return (
            f"{_with_unit(self.parameters)} parameters, {_with_unit(self.multiply_adds)} multiply-adds, "
            f"{_with_unit(self.activations)} activations"
        )


def measure_cost(network: nn.Module, shape: tuple[int, int, int]) -> Cost:
    """Measures the cost for one image of `shape` (C, H, W).

    On the meta device this needs neither memory nor arithmetic. The network's mode is restored.
    """
    device = next(network.parameters()).device
    outputs: list[int] = []

    def record_output(_: nn.Module, __: object, output: Tensor) -> None:
        outputs.append(output.numel())

    hooks = [m.register_forward_hook(record_output) for m in network.modules() if isinstance(m, nn.Conv2d)]
    training = network.training
    try:
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, *shape, device=device))
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    parameters = sum(parameter.numel() for parameter in network.parameters())
    # FlopCounterMode counts a multiply-add as two operations.
    return Cost(parameters, cast(int, counter.get_total_flops()) // 2, sum(outputs))


def _with_unit(number: int) -> str:
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return str(number)
