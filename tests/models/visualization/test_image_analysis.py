"""Looking: feature maps, heat map, contact sheet and page of real models."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.models.visualization.tiny_networks import TinyGoogLeNet, tiny

from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.registry import find
from linnaeus.models.visualization.image_analysis import ImageAnalysis, analyze_image
from linnaeus.models.zoo_model import ModelWeights


def test_the_five_best_are_the_models_own(coffee: ImageAnalysis, pictures: Path) -> None:
    model = find("efficientnet_lite0")
    with torch.inference_mode():
        pixels = to_pixels(load_image(pictures / "coffee.jpg", model.input))
        probabilities = eager_classifier(model, model.bundled_weights())(pixels)[0]
    best = probabilities.topk(5)
    assert [prediction.index for prediction in coffee.predictions] == best.indices.tolist()
    assert [prediction.probability for prediction in coffee.predictions] == pytest.approx(
        best.values.tolist(), abs=1e-6
    )
    assert coffee.predictions[0].label == "espresso" and coffee.explained == coffee.predictions[0]


def test_equal_probabilities_go_by_lower_index(tmp_path: Path) -> None:
    row, weights = tiny(TinyGoogLeNet)
    Image.new("RGB", (16, 16)).save(tmp_path / "black.png")
    level = ModelWeights({name: torch.zeros_like(tensor) for name, tensor in weights.state.items()}, "random", 1)
    assert [prediction.index for prediction in analyze_image(row, level, tmp_path / "black.png").predictions] == [
        0,
        1,
        2,
        3,
        4,
    ]


def test_the_class_to_explain_is_a_label_or_an_index(tiny_analysis: ImageAnalysis, tmp_path: Path) -> None:
    row, weights = tiny(TinyGoogLeNet)
    tiny_analysis.image.save(tmp_path / "a.png")
    # a label goes before an index: here "3" is the label of class 4
    own = ("zero", "one", "two", "tiger", "3", "five", "six", "seven", "eight", "nine")
    for wanted, index in (("tiger", 3), ("3", 4), ("7", 7)):
        analysis = analyze_image(row, weights, tmp_path / "a.png", own, wanted)
        assert (analysis.explained.index, analysis.explained.label) == (index, own[index])
    for wanted in ("spoons", "10"):
        with pytest.raises(ValueError, match=f"no class '{wanted}'; give one of the 10 labels, or an index from 0 on"):
            analyze_image(row, weights, tmp_path / "a.png", own, wanted)
