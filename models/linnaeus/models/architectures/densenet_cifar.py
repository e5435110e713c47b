"""DenseNet for 32x32 images (source document 003; Huang et al., "Densely Connected Convolutional Networks", 2016).

Three dense blocks of equal length work at 32x32, 16x16 and 8x8, between a 3x3 convolution and global average pooling.
The ImageNet variant with four blocks comes from torchvision.
"""

import torch
from torch import Tensor, nn

_BLOCKS = 3
# Layers with weights outside the dense blocks: the first convolution, two transitions, the classifier.
_OTHER_LAYERS = 4
# Output channels of a bottleneck divided by the growth rate (the paper's section 3).
_BOTTLENECK_WIDTH = 4
_COMPRESSION = 0.5
_PLAIN_STEM_CHANNELS = 16


class DenseLayer(nn.Module):
    """Batch norm, ReLU and convolution; appends `growth_rate` channels to its input. A 1x1 bottleneck is optional."""

    def __init__(self, inputs: int, growth_rate: int, bottleneck: bool) -> None:
        super().__init__()
        wide = _BOTTLENECK_WIDTH * growth_rate
        bottleneck_layers = [*_preactivated_convolution(inputs, wide, 1)] if bottleneck else []
        self.body = nn.Sequential(
            *bottleneck_layers, *_preactivated_convolution(wide if bottleneck else inputs, growth_rate, 3)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Maps [N, inputs, H, W] to [N, inputs + growth_rate, H, W], the input's channels first."""
        return torch.cat((features, self.body(features)), 1)


class DenseNetCifar(nn.Module):
    """DenseNet with `depth` layers that have weights; maps float32 [N, 3, 32, 32] to logits [N, classes].

    Args:
        depth: number of layers with weights: 4 plus a multiple of 3, or of 6 if `compressed`.
        growth_rate: channels that each dense layer adds (the paper's k).
        compressed: True for DenseNet-BC, which has bottlenecks, transitions that halve the channels, and 2k channels
            after the first convolution. Otherwise transitions keep the channels and the first convolution gives 16.
        classes: number of logits.

    Raises:
        ValueError: if three blocks of equal length cannot have that depth.
    """

    def __init__(self, depth: int, growth_rate: int, compressed: bool, classes: int) -> None:
        super().__init__()
        layers = layers_per_block(depth, compressed)
        channels = 2 * growth_rate if compressed else _PLAIN_STEM_CHANNELS
        self.features = nn.Sequential(nn.Conv2d(3, channels, 3, padding=1, bias=False))
        for number in range(1, _BLOCKS + 1):
            block = [DenseLayer(channels + place * growth_rate, growth_rate, compressed) for place in range(layers)]
            self.features.add_module(f"block{number}", nn.Sequential(*block))
            channels += layers * growth_rate
            if number < _BLOCKS:
                outputs = int(_COMPRESSION * channels) if compressed else channels
                self.features.add_module(f"transition{number}", _transition(channels, outputs))
                channels = outputs
        self.head = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(channels, classes)
        _initialize(self)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] with H and W of at least 4 to logits [N, classes]."""
        logits: Tensor = self.classifier(self.head(self.features(images)))
        return logits


def layers_per_block(depth: int, compressed: bool) -> int:
    """Returns the number of dense layers in each block.

    Raises:
        ValueError: if three blocks of equal length cannot have that depth.
    """
    convolutions = _BLOCKS * (2 if compressed else 1)
    layers, rest = divmod(depth - _OTHER_LAYERS, convolutions)
    if layers < 1 or rest:
        form = "a DenseNet-BC" if compressed else "a plain DenseNet"
        raise ValueError(
            f"depth is {depth}, but {form} of three blocks needs 4 more than a positive multiple of {convolutions}"
        )
    return layers


def _preactivated_convolution(inputs: int, outputs: int, kernel: int) -> list[nn.Module]:
    """Batch norm and ReLU, then the convolution; a list for the caller to extend a `Sequential` with."""
    return [
        nn.BatchNorm2d(inputs),
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
    ]


def _transition(inputs: int, outputs: int) -> nn.Sequential:
    # The paper's text mentions no ReLU here; its code and all implementations have one.
    return nn.Sequential(*_preactivated_convolution(inputs, outputs, 1), nn.AvgPool2d(2))


def _initialize(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
