"""Summarizes a network layer by layer: kernels, output shapes, parameters and multiply-adds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

Shape = tuple[int, ...]
_KERNEL_CLASSES = ("Conv", "MaxPool", "AvgPool")


@dataclass(frozen=True, slots=True)
class Layer:
    """One module of a network, including its submodules.

    Attributes:
        name: dotted path, as in `named_modules()`.
        kind: name of its class.
        kernel, stride: (height, width); None if the module has none.
        outputs: distinct output shapes without the batch dimension: several if the module runs more than once, none if
            it does not run.
        parameters: number of parameters.
        multiply_adds: multiply-adds of convolutions and matrix products for one image; other operations are not
            counted. They are counted as executed: a masked weight counts in full.
    """

    name: str
    kind: str
    kernel: tuple[int, int] | None
    stride: tuple[int, int] | None
    outputs: tuple[Shape, ...]
    parameters: int
    multiply_adds: int

    @property
    def depth(self) -> int:
        """Number of modules that contain this one, without the network itself."""
        return self.name.count(".")


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A network's layers in order of registration, parents before children, and totals.

    The totals include what `forward` computes outside of any layer.
    """

    layers: tuple[Layer, ...]
    output: Shape
    parameters: int
    multiply_adds: int


def summarize(network: nn.Module, image: Shape) -> ModelSummary:
    """Runs one black image and summarizes every layer; leaves the network in evaluation mode.

    On the meta device this needs neither memory nor arithmetic.

    Args:
        network: maps float32 [N, C, H, W] to a tensor.
        image: shape (C, H, W) of the image.

    Raises:
        RuntimeError: if the network does not accept images of that shape.
    """
    network.eval()
    outputs: dict[nn.Module, dict[Shape, None]] = {}

    def record_output(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor):
            outputs.setdefault(module, {})[tuple(output.shape[1:])] = None

    hooks = [module.register_forward_hook(record_output) for module in network.modules()]
    try:
        # no_grad, because in inference mode a dense layer is not decomposed and so not counted
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            output = network(torch.zeros(1, *image, device=_device(network)))
    finally:
        for hook in hooks:
            hook.remove()
    operations = {path: sum(counts.values()) for path, counts in counter.get_flop_counts().items()}
    root = type(network).__name__
    layers = tuple(
        _layer(name, module, tuple(outputs.get(module, ())), operations.get(f"{root}.{name}", 0) // 2)
        for name, module in network.named_modules()
        if name
    )
    return ModelSummary(layers, tuple(output.shape[1:]), _parameter_count(network), operations.get("Global", 0) // 2)


def _layer(name: str, module: nn.Module, outputs: tuple[Shape, ...], multiply_adds: int) -> Layer:
    kind = type(module).__name__
    has_kernel = kind.startswith(_KERNEL_CLASSES)
    kernel, stride = (_pair(getattr(module, key, None)) if has_kernel else None for key in ("kernel_size", "stride"))
    return Layer(name, kind, kernel, stride, outputs, _parameter_count(module), multiply_adds)


def _pair(value: object) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    return (int(value[0]), int(value[1])) if isinstance(value, tuple) and len(value) == 2 else None


def _device(network: nn.Module) -> torch.device:
    return next((parameter.device for parameter in network.parameters()), torch.device("cpu"))


def _parameter_count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
