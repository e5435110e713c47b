"""Weight initialization by layer type, for any network."""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Scheme = Literal["kaiming", "xavier", "normal"]


def initialize_for_relu(network: nn.Module) -> None:
    """Initializes convolutions and dense layers as in He et al. (2015), with biases of zero.

    The constructors of networks without batch norm use it. PyTorch's default shrinks the signal by a factor of about
    2.4 a layer, so that after twenty layers nothing is left of it; this initialization keeps its variance through any
    number of ReLU layers. It draws from torch's global generator.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def initialize_layers(network: nn.Module, scheme: Scheme = "kaiming", seed: int = 0, std: float = 0.01) -> None:
    """Initializes each layer by its type, in place; the same seed gives the same parameters.

    Convolutions and dense layers get biases of 0 and normally distributed weights. Normalization layers become the
    identity and forget their running statistics. Other layers are left unchanged.

    Args:
        network: the network to change.
        scheme: `kaiming` (He et al., 2015; variance 2/fan-out) for ReLU, `xavier` (Glorot and Bengio, 2010; variance
            2/(fan-in + fan-out)) for sigmoid and tanh, or `normal`.
        seed: seed of the generator.
        std: standard deviation for `normal`.

    Raises:
        ValueError: if there is no such scheme.
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
