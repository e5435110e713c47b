"""Networks of torchvision, with its weights and the input that these were trained for."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torchvision.models import GoogLeNet, WeightsEnum, get_model, get_model_weights

from linnaeus.models import labels
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_entries.regnet import PUBLISHED_PARAMETERS, published_network
from linnaeus.models.zoo_model import ZooModel


class GoogLeNetWithoutHeads(GoogLeNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's GoogLeNet without auxiliary heads; `forward` returns the logits.

    In TorchScript, torchvision's own `forward` returns a tuple with places for the heads. The published weights come
    from TensorFlow and need pixels from -1 to 1, which `transform_input` computes from ImageNet's normalization.
    """

    def __init__(self, classes: int) -> None:
        super().__init__(num_classes=classes, aux_logits=False, transform_input=True, init_weights=True)

    def forward(self, images: Tensor) -> Tensor:
        """Maps float32 [N, 3, H, W] to logits [N, classes]."""
        logits: Tensor = self._forward(self._transform_input(images))[0]
        return logits


def _entry(name: str, family: str, year: int, build: Callable[[int], nn.Module] | None = None) -> ZooModel:
    # DEFAULT is torchvision's most accurate set of weights. The input is that of these weights, because some need
    # another size than their predecessors.
    weights: WeightsEnum = get_model_weights(name).DEFAULT
    preset = weights.transforms()
    return ZooModel(
        name=name,
        family=family,
        year=year,
        build=build or partial(_build, name),
        input=InputSpec(
            channels=3,
            height=preset.crop_size[0],
            width=preset.crop_size[0],
            resize=preset.resize_size[0],
            interpolation=preset.interpolation.value,
        ),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        labels=labels.imagenet,
        download=lambda: weights,
    )


def _build(name: str, classes: int) -> nn.Module:
    network: nn.Module = get_model(name, weights=None, num_classes=classes)
    return network


# Not built by torchvision's builders, which fail on the meta device, where the zoo counts parameters without memory.
_REGNETS = tuple(_entry(name, "RegNet", 2020, partial(published_network, name)) for name in PUBLISHED_PARAMETERS)
_HUGE = ("regnet_y_128gf",)

ENTRIES = (
    # torchvision's is the variant of 2014 with one tower ("One weird trick for parallelizing convolutional networks")
    _entry("alexnet", "AlexNet", 2014),
    *(_entry(name, "VGG", 2014) for name in ("vgg16", "vgg19", "vgg16_bn")),
    _entry("googlenet", "GoogLeNet", 2014, GoogLeNetWithoutHeads),
    *(_entry(f"resnet{layers}", "ResNet", 2015) for layers in (18, 34, 50, 101, 152)),
    *(_entry(f"densenet{layers}", "DenseNet", 2016) for layers in (121, 161, 169, 201)),
    *(entry for entry in _REGNETS if entry.name not in _HUGE),
)

# Not in the zoo: 645 million parameters at 384x384 need more than the 6 GB that exporting all of ENTRIES may take.
HUGE_ENTRIES = tuple(entry for entry in _REGNETS if entry.name in _HUGE)
