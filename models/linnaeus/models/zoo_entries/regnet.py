"""RegNets, built from their parameters."""

from functools import partial

from torch import nn

from linnaeus.models import labels
from linnaeus.models.architectures.anynet import Stage, anynet
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.manifest import InputSpec
from linnaeus.models.zoo_model import ZooModel

# d, w0, wa, wm and g as published: Radosavovic et al., 2020, tables of the RegNetX and RegNetY models; 128GF from Goyal
# et al., 2021.
PUBLISHED_PARAMETERS = {
    "regnet_x_400mf": RegNetParameters(22, 24, 24.48, 2.54, 16),
    "regnet_x_800mf": RegNetParameters(16, 56, 35.73, 2.28, 16),
    "regnet_x_1_6gf": RegNetParameters(18, 80, 34.01, 2.25, 24),
    "regnet_x_3_2gf": RegNetParameters(25, 88, 26.31, 2.25, 48),
    "regnet_x_8gf": RegNetParameters(23, 80, 49.56, 2.88, 120),
    "regnet_x_16gf": RegNetParameters(22, 216, 55.59, 2.1, 128),
    "regnet_x_32gf": RegNetParameters(23, 320, 69.86, 2.0, 168),
    "regnet_y_400mf": RegNetParameters(16, 48, 27.89, 2.09, 8),
    "regnet_y_800mf": RegNetParameters(14, 56, 38.84, 2.4, 16),
    "regnet_y_1_6gf": RegNetParameters(27, 48, 20.71, 2.65, 24),
    "regnet_y_3_2gf": RegNetParameters(21, 80, 42.63, 2.66, 24),
    "regnet_y_8gf": RegNetParameters(17, 192, 76.82, 2.19, 56),
    "regnet_y_16gf": RegNetParameters(18, 200, 106.23, 2.48, 112),
    "regnet_y_32gf": RegNetParameters(20, 232, 115.89, 2.53, 232),
    "regnet_y_128gf": RegNetParameters(27, 456, 160.83, 2.52, 264),
}
REGNET_X_400MF = PUBLISHED_PARAMETERS["regnet_x_400mf"]
_Y_SE_RATIO = 0.25


def regnet_model(
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    se_ratio: float | None = None,
    name: str | None = None,
) -> ZooModel:
    """Returns an entry of the zoo for any RegNet.

    Args:
        depth: number of blocks.
        w0: width of the first block, a multiple of 8.
        wa: increase of the width per block, at least 0.
        wm: ratio of the widths of consecutive stages, above 1.
        group_width: channels in each group of the 3x3 convolutions.
        se_ratio: squeeze-and-excitation channels as a share of a block's input channels, in (0, 1]; None for no
            squeeze-and-excitation.
        name: name of the model; "regnet" if None.

    Raises:
        ValueError: if a parameter is out of range.
    """
    if se_ratio is not None and not 0 < se_ratio <= 1:
        raise ValueError(f"the squeeze-and-excitation ratio is {se_ratio}, but must be above 0 and at most 1")
    return ZooModel(
        name=name or "regnet",
        family="RegNet",
        year=2020,
        build=partial(_build, RegNetParameters(depth, w0, wa, wm, group_width).stages(), se_ratio),
        input=InputSpec(channels=3, height=224, width=224, resize=256, interpolation="bilinear"),
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=labels.imagenet,
    )


def published_network(name: str, classes: int) -> nn.Module:
    """Builds a network of `PUBLISHED_PARAMETERS`; RegNetY has squeeze-and-excitation."""
    return _build(PUBLISHED_PARAMETERS[name].stages(), _Y_SE_RATIO if "_y_" in name else None, classes)


def _build(stages: tuple[Stage, ...], se_ratio: float | None, classes: int) -> nn.Module:
    return anynet(stages, classes, se_ratio=se_ratio)


ENTRIES = (
    regnet_model(
        REGNET_X_400MF.depth,
        REGNET_X_400MF.initial_width,
        REGNET_X_400MF.slope,
        REGNET_X_400MF.width_multiplier,
        REGNET_X_400MF.group_width,
    ),
)
