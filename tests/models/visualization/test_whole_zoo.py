"""The drawn stages and the heat map's target layers of every model, computed on the meta device: shapes only."""

from contextlib import ExitStack
from functools import cache, partial
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from linnaeus.models.pixel_classifier import PixelClassifier, normalize
from linnaeus.models.registry import ZOO
from linnaeus.models.visualization.feature_maps import FeatureMap, feature_maps, find_stages
from linnaeus.models.visualization.grad_cam import grad_cam
from linnaeus.models.zoo_model import ZooModel

META = torch.device("meta")
_QUICK = {"lenet", "alexnet", "vgg16", "googlenet_plain", "resnet18", "efficientnet_lite0", "regnet_x_400mf"}
NAMES = [pytest.param(name, marks=() if name in _QUICK else pytest.mark.release) for name in ZOO]


def classifier_of(model: ZooModel) -> PixelClassifier:
    try:
        with META:
            backbone = model.network()
    except NotImplementedError:  # torchvision's RegNets read values of tensors in their constructors
        backbone = model.network()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            # batch norm changes no shape and takes most of the time on the meta device
            module.forward = Tensor.clone
    return PixelClassifier(backbone, model.mean, model.std).to(META).eval()


def black(model: ZooModel) -> Tensor:
    return torch.zeros(1, model.input.channels, model.input.height, model.input.width, dtype=torch.uint8, device=META)


@cache
def analyze(name: str) -> tuple[tuple[FeatureMap, ...], tuple[str, ...], set[tuple[int, ...]]]:
    """Returns the feature maps, the target layers of the heat map, and their distinct (height, width)."""
    model = ZOO[name]
    classifier, pixels = classifier_of(model), black(model)
    with META:
        images = normalize(pixels, model.mean, model.std)
    sizes: dict[str, tuple[int, ...]] = {}
    with ExitStack() as hooks:
        for path, module in classifier.backbone.named_modules():
            hooks.callback(module.register_forward_hook(partial(note_size, sizes, path)).remove)
        stages = find_stages(classifier.backbone, images)
    sources = grad_cam(classifier, pixels, stages, 0).stages
    return feature_maps(classifier.backbone, images, stages), sources, {sizes[source] for source in sources}


def note_size(sizes: dict[str, tuple[int, ...]], path: str, _module: object, _inputs: object, output: Tensor) -> None:
    sizes[path] = tuple(output.shape[2:])


def numbered(path: str, last: int) -> list[str]:
    return [f"{path}{number}" for number in range(1, last + 1)]


def inception(*blocks: str) -> list[str]:
    return [f"{block}.branch{number}" for block in blocks for number in (1, 2, 3, 4)]


REGNET = ["stem", *numbered("trunk_output.block", 4), "avgpool"]
RESNET = ["conv1", "bn1", "relu", "maxpool", *numbered("layer", 4), "avgpool"]
DENSENET_CIFAR = [
    *("features.0", "features.block1", "features.transition1", "features.block2", "features.transition2"),
    *("features.block3", "head.0", "head.1", "head.2"),
]
IMAGENET_DENSENET = [
    *(f"features.{name}" for name in ("conv0", "norm0", "relu0", "pool0", "denseblock1", "transition1")),
    *(f"features.{name}" for name in ("denseblock2", "transition2", "denseblock3", "transition3", "denseblock4")),
    "features.norm5",
]
GOOGLENET = [
    *("conv1", "maxpool1", "conv2", "conv3", "maxpool2", *inception("inception3a", "inception3b"), "maxpool3"),
    *inception("inception4a", "inception4b", "inception4c", "inception4d", "inception4e"),
    *("maxpool4", *inception("inception5a", "inception5b"), "avgpool"),
]
# Number of stages of networks without blocks, whose layers are the stages.
LAYERS = {"lenet": 6, "zfnet": 14, "alexnet": 13, "vgg16": 31, "vgg19": 37, "vgg16_bn": 44}
FAMILIES = {
    "lenet5": ["c1", "s2", "c3", "s4", "c5"],
    "mnist_cnn": numbered("layer", 4),
    "simple_cnn": numbered("layer", 3),
    "efficientnet_lite0": numbered("features.", 22),
    "efficientnet_lite1": numbered("features.", 27),
    "efficientnet_lite2": numbered("features.", 27),
    "vgg16c": numbered("features.block", 5),
    "googlenet": GOOGLENET,
    "densenet_cifar": DENSENET_CIFAR,
}


def expected(name: str) -> list[str] | None:
    if name in LAYERS:
        return [f"features.{number}" for number in range(LAYERS[name])]
    for beginning, stages in (("regnet", REGNET), ("resnet", RESNET), ("densenet_", DENSENET_CIFAR)):
        if name.startswith(beginning):
            return stages
    return IMAGENET_DENSENET if name.startswith("densenet") else FAMILIES.get(name)


# Height and width of the last convolution's output: for images of 224, and below for small ones.
FINEST = {"alexnet": 13, "alexnet_two_tower": 13, "zfnet": 13, "vgg16": 14, "vgg19": 14, "vgg16_bn": 14, "vgg16c": 14}
FINEST |= {"efficientnet_lite1": 8, "efficientnet_lite2": 9, "lenet": 8, "lenet5": 5, "mnist_cnn": 8, "simple_cnn": 8}


@pytest.mark.parametrize("name", NAMES)
def test_every_stage_of_every_network_is_drawn_once_from_fine_to_coarse(name: str) -> None:
    maps, _, _ = analyze(name)
    names = [stage.name for stage in maps]
    assert len(set(names)) == len(names)
    assert all(stage.values.ndim == 3 for stage in maps)
    if (stages := expected(name)) is not None:
        assert names == stages
    if name != "alexnet_two_tower":  # its second tower begins at the resolution of the first
        areas = [stage.values[0].numel() for stage in maps]
        assert all(before >= after for before, after in pairwise(areas))


@pytest.mark.parametrize("name", NAMES)
def test_every_heat_map_is_computed_from_the_finest_last_feature_maps(name: str) -> None:
    _, _, sizes = analyze(name)
    finest = FINEST.get(name, 8 if ZOO[name].input.height == 32 else 7)
    assert sizes == {(finest, finest)}


@pytest.mark.parametrize(
    ("name", "sources"),
    [
        ("mnist_cnn", ("layer4.2",)),
        ("alexnet", ("features.11",)),
        ("vgg16c", ("features.block5.5",)),
        ("resnet18", ("layer4",)),
        ("regnet", ("trunk_output.block4",)),
        ("googlenet", ("inception5b",)),
        ("googlenet_plain", ("stage3.inception5b",)),
        ("inception_densenet121", ("features.relu5",)),
        ("alexnet_two_tower", ("upper1.others.4", "upper2.others.4")),
    ],
)
def test_the_target_layer_is_the_layer_before_the_pooling(name: str, sources: tuple[str, ...]) -> None:
    assert analyze(name)[1] == sources


@pytest.mark.parametrize(("name", "blocks"), [("googlenet", 9), ("googlenet_plain", 9), ("inception_densenet121", 58)])
def test_inception_blocks_are_drawn_as_their_four_branches_only(name: str, blocks: int) -> None:
    branches = [stage for stage in analyze(name)[0] if stage.name[:-1].endswith(".branch")]
    assert len(branches) == 4 * blocks
    assert not [stage.name for stage in analyze(name)[0] if stage.kind == "Inception" or stage.name == "stage2"]
