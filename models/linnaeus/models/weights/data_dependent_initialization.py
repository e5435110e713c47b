"""Brings a random network into range, so that it answers differently to different pictures.

Raw random weights do not do: activations grow or shrink with every layer (torchvision's resnet152 gives logits of
1e8, each picture the same one-hot answer), and no comparison of two such networks can fail. Here every layer is
fitted in the order of computation, within a single run over a few pictures, to what reaches it:

- batch normalisation takes the run's means and variances, and shifts its output above zero;
- a convolution or dense layer is divided by its output's standard deviation and, where it has a bias, shifted to the
  same mean channel by channel (layer-sequential unit variance, Mishkin and Matas 2016; data-dependent biases,
  Krähenbühl et al. 2016);
- the last of these layers is centred and scaled such that no class is ahead on average and the logits differ between
  pictures by `LOGIT_SPREAD`.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

# Standard deviation of a class's logit between pictures; trained networks have somewhat more.
LOGIT_SPREAD = 1.6
# Where ReLU cuts at the middle of what reaches it, each layer makes pictures more alike, and the next batch norm blows
# up what is left of their difference, rounding included: resnet101's float32 logits were 8e-4 of their spread off
# those of float64. One standard deviation above zero ReLU is nearly linear, and they are 2e-5 off.
_POSITIVE_SHIFT = 1.0
# Of the descent that fits a curved head.
_STEPS, _STEP, _DAMPING = 30, 0.1, 0.3
# Channels that hardly vary in the run must not explode when another picture moves them.
_VARIANCE_FLOOR = 0.1

Affine = nn.Conv2d | nn.Linear


def initialize_from_data(network: nn.Module, images: Tensor) -> None:
    """Changes the network's weights and statistics in place and leaves it in evaluation mode.

    Args:
        network: maps `images` to logits [N, classes].
        images: normalised float32 [N, C, H, W], at least two that differ.

    Raises:
        RuntimeError: its logits cannot be brought to differ between pictures.
    """
    network.eval()
    with torch.no_grad():
        last, logits = _fit_layers(network, images)
        if torch.equal(last.output.flatten(1), logits):
            _fit_head(last.layer, logits)
        else:
            _fit_curved_head(network, images, last.layer)


def logit_spread(logits: Tensor) -> float:
    """How much a class's logit [N, classes] differs between the N pictures, as a standard deviation.

    What moves all classes of a picture alike does not count: softmax does not see it.
    """
    relative = logits - logits.mean(1, keepdim=True)
    return float(relative.var(0).mean().sqrt())


class _LayerFitter:
    """Fits each layer when it is first called, and remembers the latest with its output."""

    def __init__(self) -> None:
        self.layer: Affine
        self.output: Tensor
        self._seen: set[nn.Module] = set()

    def fit(self, layer: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not isinstance(layer, Affine):
            raise TypeError(f"{type(layer).__name__} is no layer that can be scaled")
        if layer not in self._seen:
            output = _unit_variance(layer, output)
        self._seen.add(layer)
        # a copy: an activation may overwrite the output in place
        self.layer, self.output = layer, output.clone() if output[0].numel() == output.shape[1] else output
        return output


def _fit_layers(network: nn.Module, images: Tensor) -> tuple[_LayerFitter, Tensor]:
    last = _LayerFitter()
    handles: list[RemovableHandle] = []
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            handles.append(module.register_forward_pre_hook(_take_statistics))
        elif isinstance(module, Affine):
            handles.append(module.register_forward_hook(last.fit))
    try:
        logits: Tensor = network(images)
    finally:
        for handle in handles:
            handle.remove()
    return last, logits


def _take_statistics(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
    if not isinstance(layer, _BatchNorm) or layer.running_mean is None or layer.running_var is None:
        raise TypeError(f"{type(layer).__name__} keeps no statistics")
    axes = [axis for axis in range(inputs[0].dim()) if axis != 1]
    variance, mean = torch.var_mean(inputs[0], dim=axes, correction=0)
    if layer.affine:
        layer.bias.fill_(_POSITIVE_SHIFT)
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance.clamp(min=_VARIANCE_FLOOR * float(variance.mean())))


def _unit_variance(layer: Affine, output: Tensor) -> Tensor:
    """Scales (and with a bias centres) the layer; returns the output that it gives now."""
    channels = (1, -1, *[1] * (output.dim() - 2))
    axes = [axis for axis in range(output.dim()) if axis != 1]
    variance, mean = torch.var_mean(output, dim=axes, correction=0)
    if layer.bias is None:
        # the mean stays in, so it counts
        mean, variance = torch.zeros_like(mean), variance + mean.square()
    scale = float(variance.mean().sqrt()) or 1.0
    if layer.bias is not None:
        mean = mean - _POSITIVE_SHIFT * scale
    _rescale(layer, mean, scale)
    return (output - mean.view(channels)) / scale


def _fit_head(layer: Affine, logits: Tensor) -> None:
    """Centres each class and gives the logits their spread, where the layer's output is the logits."""
    _rescale(layer, logits.mean(0), _require_positive_finite(logit_spread(logits)) / LOGIT_SPREAD)


def _fit_curved_head(network: nn.Module, images: Tensor, layer: Affine) -> None:
    """Comes to the same end step by step, where something curved (such as distances) follows the last layer.

    The bias descends until no class is ahead on average, while the weights grow or shrink towards the spread; their
    directions stay as they were drawn, so that the pictures are not learned by heart.
    """
    if layer.bias is None:
        raise RuntimeError("a layer without a bias, with something curved after it, cannot be centred")
    optimizer = torch.optim.Adam([layer.bias], lr=_STEP)
    for _ in range(_STEPS):
        with torch.enable_grad():
            logits: Tensor = network(images)
            ahead = (logits - logits.mean(1, keepdim=True)).mean(0).square().mean()
        (layer.bias.grad,) = torch.autograd.grad(ahead, [layer.bias])
        optimizer.step()
        layer.weight.mul_((LOGIT_SPREAD / _require_positive_finite(logit_spread(logits))) ** _DAMPING)
    optimizer.zero_grad()


def _require_positive_finite(value: float) -> float:
    if not 0 < value < float("inf"):
        raise RuntimeError("this random network gives the same logits to every picture, try another --seed")
    return value


def _rescale(layer: Affine, mean: Tensor, scale: float) -> None:
    """Makes the layer give (output - mean) / scale."""
    layer.weight.div_(scale)
    if layer.bias is not None:
        layer.bias.sub_(mean).div_(scale)
