"""Starting weights for networks that have no batch norm to forgive bad ones."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Scheme = Literal["kaiming", "xavier", "normal"]


def initialize_for_relu(network: nn.Module) -> None:
    """Draws every convolution and dense layer as He et al. (2015) do, with biases at zero.

    PyTorch's own start shrinks the signal by about a factor of 2.4 a layer, after twenty layers to nothing; this one
    keeps its size through any number of ReLU layers.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_layers(network: nn.Module, scheme: Scheme = "kaiming", seed: int = 0, std: float = 0.01) -> None:
    """Gives each layer fresh parameters by its type, in place; the same seed gives the same ones.

    Weights of convolutions and dense layers are drawn from a normal distribution: `kaiming` (He et al., 2015; variance
    2/fan-out) for networks with ReLU, `xavier` (Glorot and Bengio, 2010; variance 2/(fan-in + fan-out)) for sigmoid
    and tanh, `normal` with the standard deviation `std`. Their biases become 0. Normalisation layers become the
    identity, running statistics included. Parameters of other layers stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            _draw_weight(module.weight, scheme, std, generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, (_BatchNorm, nn.GroupNorm, nn.LayerNorm)):
            module.reset_parameters()


def _draw_weight(weight: Tensor, scheme: Scheme, std: float, generator: torch.Generator) -> None:
    if scheme == "kaiming":
        nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu", generator=generator)
    elif scheme == "xavier":
        nn.init.xavier_normal_(weight, generator=generator)
    elif scheme == "normal":
        nn.init.normal_(weight, std=std, generator=generator)
    else:
        raise ValueError(f"there is no initialisation {scheme!r}; there are: kaiming, xavier, normal")
