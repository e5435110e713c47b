"""Data-dependent initialization: scales a random network such that its outputs differ between images.

Purely random weights are useless for tests: activations grow or shrink with every layer. torchvision's resnet152 gives
logits of 1e8 and the same one-hot output for every image, so that no comparison of two such networks can fail. Here
each layer is adjusted to its input, in order of computation, in a single run over a few images:

- Batch normalization gets the means and variances of its input, and a bias that shifts its output above zero.
- A convolution or dense layer is divided by the standard deviation of its output and, if it has a bias, shifted to the
  same mean in each channel (layer-sequential unit variance, Mishkin and Matas 2016; data-dependent biases, Krähenbühl
  et al. 2016).
- The last of these layers is centered and scaled such that no class has a higher mean logit than the others, and the
  logits differ between images by `LOGIT_SPREAD`.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.hooks import RemovableHandle

# Standard deviation of a class's logit between images; trained networks have slightly more.
LOGIT_SPREAD = 1.6
# In standard deviations. With inputs centered at zero, each ReLU makes the images more alike, and the next batch norm
# amplifies the rest of their difference including rounding errors: the float32 logits of resnet101 differed from those
# of float64 by 8e-4 of their spread. One standard deviation above zero, ReLU is nearly linear: they differ by 2e-5.
_POSITIVE_SHIFT = 1.0
# Of the gradient descent for a nonlinear head: number of steps, learning rate, exponent of the weights' scaling.
_STEPS, _STEP, _DAMPING = 30, 0.1, 0.3
# Share of the mean variance. Without it, a channel that hardly varies here could explode for another image.
_VARIANCE_FLOOR = 0.1

Affine = nn.Conv2d | nn.Linear


def initialize_from_data(network: nn.Module, images: Tensor) -> None:
    """Changes the weights and statistics of a network in place; leaves it in evaluation mode.

    Args:
        network: maps `images` to logits [N, classes].
        images: normalized float32 [N, C, H, W], at least two distinct ones.

    Raises:
        RuntimeError: if the logits cannot be made to differ between the images.
    """
    network.eval()
    with torch.no_grad():
        last, logits = _fit_layers(network, images)
        if torch.equal(last.output.flatten(1), logits):
            _fit_head(last.layer, logits)
        else:
            _fit_nonlinear_head(network, images, last.layer)


def logit_spread(logits: Tensor) -> float:
    """Returns the standard deviation of a class's logit between N images, from logits [N, classes].

    The mean over the classes of each image is subtracted first, because softmax ignores it.
    """
    relative = logits - logits.mean(1, keepdim=True)
    return float(relative.var(0).mean().sqrt())


class _LayerFitter:
    """A forward hook that adjusts each layer at its first call; keeps the last layer called and its output."""

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
        # a copy, because an activation may overwrite the output in place
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
    """Scales the layer, and centers it if it has a bias; returns its new output."""
    channels = (1, -1, *[1] * (output.dim() - 2))
    axes = [axis for axis in range(output.dim()) if axis != 1]
    variance, mean = torch.var_mean(output, dim=axes, correction=0)
    if layer.bias is None:
        # the mean cannot be removed, so it is part of the scale
        mean, variance = torch.zeros_like(mean), variance + mean.square()
    scale = float(variance.mean().sqrt()) or 1.0
    if layer.bias is not None:
        mean = mean - _POSITIVE_SHIFT * scale
    _rescale(layer, mean, scale)
    return (output - mean.view(channels)) / scale


def _fit_head(layer: Affine, logits: Tensor) -> None:
    """Centers each class and sets the spread, for a layer whose output is the logits."""
    _rescale(layer, logits.mean(0), _require_positive_finite(logit_spread(logits)) / LOGIT_SPREAD)


def _fit_nonlinear_head(network: nn.Module, images: Tensor, layer: Affine) -> None:
    """Centers the classes and sets the spread iteratively, if something nonlinear follows the last layer.

    An example is the distances of LeNet-5. Gradient descent on the bias makes the mean logits of the classes equal,
    while the weights are scaled towards the spread. The direction of the weights stays random, so that the network does
    not memorize the images.
    """
    if layer.bias is None:
        raise RuntimeError("a layer without a bias, with something curved after it, cannot be centred")
    optimizer = torch.optim.Adam([layer.bias], lr=_STEP)
    for _ in range(_STEPS):
        with torch.enable_grad():
            logits: Tensor = network(images)
            imbalance = (logits - logits.mean(1, keepdim=True)).mean(0).square().mean()
        (layer.bias.grad,) = torch.autograd.grad(imbalance, [layer.bias])
        optimizer.step()
        layer.weight.mul_((LOGIT_SPREAD / _require_positive_finite(logit_spread(logits))) ** _DAMPING)
    optimizer.zero_grad()


def _require_positive_finite(value: float) -> float:
    if not 0 < value < float("inf"):
        raise RuntimeError("this random network gives the same logits to every picture, try another --seed")
    return value


def _rescale(layer: Affine, mean: Tensor, scale: float) -> None:
    """Changes the layer such that its output becomes (output - mean) / scale."""
    layer.weight.div_(scale)
    if layer.bias is not None:
        layer.bias.sub_(mean).div_(scale)
