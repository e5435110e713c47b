"""The heat map is Grad-CAM."""

from pathlib import Path

import pytest
import torch
from tests.models.visualization.tiny_networks import TinyGoogLeNet, Towers, colours, tiny
from torch import Tensor, nn

from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.registry import find
from linnaeus.models.visualization.feature_maps import find_stages
from linnaeus.models.visualization.grad_cam import grad_cam
from linnaeus.models.visualization.image_analysis import ImageAnalysis
from linnaeus.models.zoo_model import ModelWeights


def test_the_heat_map_lies_over_the_picture_and_depends_on_the_class(pictures: Path) -> None:
    model = find("lenet")
    classifier = eager_classifier(model, model.bundled_weights())
    pixels = to_pixels(load_image(pictures / "digits" / "7.png", model.input))
    stages = [f"features.{number}" for number in range(6)]
    heats = [grad_cam(classifier, pixels, stages, index) for index in range(10)]
    for heat_map in heats:
        # features.5 only pools
        assert heat_map.stages == ("features.4",)
        assert heat_map.values.shape == (28, 28) and not heat_map.values.requires_grad
        assert heat_map.values.min() >= 0 and heat_map.values.max() == 1
    assert all((heats[7].values - heats[other].values).abs().max() > 0.1 for other in range(10) if other != 7)


def test_the_heat_map_is_grad_cam() -> None:
    row, weights = tiny(TinyGoogLeNet)
    classifier = eager_classifier(row, weights)
    backbone = classifier.backbone
    stages = find_stages(backbone, torch.zeros(1, 3, 16, 16))
    heat_map = grad_cam(classifier, colours(), stages, 3)
    assert heat_map.stages == ("body",)
    # By hand: behind the last block come a 2x2 maximum and the mean of four points, so the slopes are known. Each
    # channel's mean slope over the 16 points is its weight x 4 maxima x 1/4 of the mean, over 16.
    maps: list[Tensor] = []
    handle = backbone.get_submodule("body").register_forward_hook(lambda _m, _i, output: maps.append(output))
    classifier(colours())
    handle.remove()
    weight = weights.state["classifier.weight"][3].view(1, -1, 1, 1) / 16
    evidence = nn.functional.interpolate((weight * maps[0]).sum(1, keepdim=True).relu(), (16, 16), mode="bilinear")
    torch.testing.assert_close(heat_map.values, (evidence / evidence.max())[0, 0])


def test_a_stage_that_ends_in_pooling_is_explained_by_what_it_pools() -> None:
    block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.MaxPool2d(2), nn.AvgPool2d(2))
    network = nn.Sequential(block, nn.Flatten(), nn.Linear(4 * 3 * 3, 2))
    classifier = PixelClassifier(network, (0.5,) * 3, (0.5,) * 3).eval()
    assert grad_cam(classifier, colours(), ["0"], 0).stages == ("0.1",)


def test_the_heat_map_of_two_towers_comes_from_both() -> None:
    row, weights = tiny(Towers)
    classifier = eager_classifier(row, weights)
    both = grad_cam(classifier, colours(), ["left", "right"], 0)
    assert both.stages == ("left", "right")
    assert not torch.equal(both.values, grad_cam(classifier, colours(), ["left"], 0).values)


def test_where_nothing_speaks_for_a_class_the_heat_map_is_empty_and_says_so(tiny_analysis: ImageAnalysis) -> None:
    row, weights = tiny(TinyGoogLeNet)
    dead = {**weights.state, "classifier.weight": torch.zeros_like(weights.state["classifier.weight"])}
    classifier = eager_classifier(row, ModelWeights(dead, "random", 1))
    assert grad_cam(classifier, colours(), ["body.4"], 0).values.abs().max() == 0


def test_a_network_without_feature_maps_has_no_heat_map() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    classifier = PixelClassifier(flat, (0.5,) * 3, (0.5,) * 3).eval()
    with pytest.raises(ValueError, match="no stage of the network gives a map with height and width"):
        grad_cam(classifier, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), ["1"], 0)


def test_the_heat_of_the_espresso_lies_in_the_cup(coffee: ImageAnalysis) -> None:
    # Seen in the picture: the cup fills rows 10 to 130 and columns 40 to 180 of 224, a third of the picture.
    heat = coffee.heat_map.values
    cup = torch.zeros(224, 224, dtype=torch.bool)
    cup[10:130, 40:180] = True
    assert heat[cup].mean() > 3 * heat[~cup].mean()
    assert ((heat > 0.5) & cup).sum() > 0.9 * (heat > 0.5).sum()
