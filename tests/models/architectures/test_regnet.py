"""RegNets follow their quantised line, come out as torchvision's, and are drawn."""

import inspect
from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.models.regnet import BlockParams

from linnaeus.models.architectures.anynet import Stage, anynet
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.zoo_entries.regnet import (
    ENTRIES,
    PUBLISHED_PARAMETERS,
    REGNET_X_400MF,
    published_network,
    regnet_model,
)


def on_meta(build: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return build()


def block_params(name: str, monkeypatch: pytest.MonkeyPatch) -> BlockParams:
    """What torchvision's builder of that name makes its network from, caught before it makes it."""
    caught: list[BlockParams] = []
    builder = getattr(models, name)
    monkeypatch.setattr(inspect.getmodule(models.RegNet), "_regnet", lambda params, *_, **__: caught.append(params))
    builder(weights=None)
    return caught[0]


def regnet_parameters(stages: tuple[Stage, ...], se_ratio: float | None) -> int:
    """The sum on paper: every convolution without bias but squeeze-and-excitation's, a batch norm after each."""
    total, inputs = 32 * 27 + 64, 32
    for stage in stages:
        width, group = stage.width, stage.group_width
        total += inputs * width + 2 * width  # the first block's projection
        for _ in range(stage.depth):
            total += inputs * width + width * 9 * group + width * width + 3 * 2 * width
            if se_ratio:
                squeezed = round(se_ratio * inputs)
                total += (width + 1) * squeezed + (squeezed + 1) * width
            inputs = width
    return total + (inputs + 1) * 1000


@pytest.mark.parametrize("name", PUBLISHED_PARAMETERS)
def test_the_published_parameters_make_torchvisions_networks(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = block_params(name, monkeypatch)
    stages = PUBLISHED_PARAMETERS[name].stages()
    assert [stage.depth for stage in stages] == theirs.depths
    assert [stage.width for stage in stages] == theirs.widths
    assert [stage.group_width for stage in stages] == theirs.group_widths
    assert {stage.bottleneck_ratio for stage in stages} == set(theirs.bottleneck_multipliers) == {1.0}
    assert sum(theirs.depths) == PUBLISHED_PARAMETERS[name].depth
    network = on_meta(lambda: published_network(name, 1000))
    count = sum(parameter.numel() for parameter in network.parameters())
    published = models.get_model_weights(name).DEFAULT.meta["num_params"]
    assert count == published == regnet_parameters(stages, theirs.se_ratio)


def test_other_parameters_make_what_torchvision_makes_of_them() -> None:
    random = Random(0)
    for _ in range(300):
        depth, width, group = random.randint(1, 30), 8 * random.randint(1, 30), random.randint(1, 70)
        slope, multiplier = random.uniform(0, 200), random.uniform(1.5, 3)
        theirs = BlockParams.from_init_params(depth, width, slope, multiplier, group)
        stages = RegNetParameters(depth, width, slope, multiplier, group).stages()
        given = [(stage.depth, stage.width, stage.group_width) for stage in stages]
        assert given == list(zip(theirs.depths, theirs.widths, theirs.group_widths, strict=True))


@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf"])
def test_torchvisions_checkpoints_fit_and_mean_the_same(name: str) -> None:
    torch.manual_seed(0)
    theirs = models.get_model(name, weights=None, num_classes=3).eval()
    ours = published_network(name, 3).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(ours(images), theirs(images))


def test_regnet_x_400mf_is_the_rows_default_and_steps_up_its_line() -> None:
    assert [row.name for row in ENTRIES] == ["regnet"]
    # d = 22 blocks: 24 * 2.54^k is 24, 61, 155, 393, in multiples of 8 24, 64, 152, 392
    assert REGNET_X_400MF.quantized_widths() == (24,) * 1 + (64,) * 2 + (152,) * 7 + (392,) * 12
    assert REGNET_X_400MF.linear_widths()[:2] == pytest.approx((24, 48.48))
    # and in groups of 16
    assert [stage.width for stage in REGNET_X_400MF.stages()] == [32, 64, 160, 400]


@pytest.mark.parametrize("se_ratio", [None, 0.25])
def test_any_regnet_can_be_exported(se_ratio: float | None) -> None:
    model = regnet_model(4, 8, 8.0, 2.0, 8, se_ratio, name="mine")
    torch.manual_seed(0)
    classifier = PixelClassifier(model.build(3), model.mean, model.std).eval()
    script = to_torchscript(classifier)
    for batch in (1, 2, 7):
        pixels = torch.randint(0, 256, (batch, 3, 32, 32), dtype=torch.uint8)
        with torch.inference_mode():
            assert (script(pixels) - classifier(pixels)).abs().max() < 1e-5
    assert (model.name, model.classes) == ("mine", 1000)
    with_se = any("se" in name.split(".") for name, _ in classifier.named_modules())
    assert with_se == (se_ratio is not None)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"depth": 0}, "depth is 0, but must be between 1 and 1000"),
        ({"w0": 20}, "w0 is 20, but must be a positive multiple of 8"),
        ({"w0": -8}, "w0 is -8"),
        ({"wa": -1.0}, "wa is -1.0, but must be 0 or more"),
        ({"wa": float("nan")}, "wa is nan"),
        ({"wa": 1e6}, "more than 100,000 channels"),
        ({"wm": 1.0}, "wm is 1.0, but must be more than 1"),
        ({"group_width": 0}, "group width is 0, but must be at least 1"),
        ({"se_ratio": 0.0}, "ratio is 0.0, but must be above 0 and at most 1"),
        ({"se_ratio": 1.5}, "ratio is 1.5"),
    ],
)
def test_parameters_that_make_no_network_are_refused_by_name(changed: dict[str, float], message: str) -> None:
    good: dict[str, float] = {"depth": 4, "w0": 8, "wa": 8.0, "wm": 2.0, "group_width": 8}
    with pytest.raises(ValueError, match=message):
        regnet_model(**(good | changed))  # type: ignore[arg-type]


def test_stages_whose_groups_do_not_come_out_are_refused() -> None:
    with pytest.raises(
        ValueError, match="a width of 24 with a bottleneck ratio of 2 cannot be divided into groups of 8"
    ):
        Stage(1, 24, bottleneck_ratio=2, group_width=8)
    with pytest.raises(ValueError, match="must be positive"):
        Stage(0, 8)
    with pytest.raises(ValueError, match="at least one stage"):
        anynet((), 10)
