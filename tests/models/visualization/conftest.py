"""Analyses of three images, shared by the tests of what is drawn."""

from pathlib import Path

import pytest
from PIL import Image
from tests.models.visualization.tiny_networks import TinyGoogLeNet, colours, tiny

from linnaeus.models.registry import find
from linnaeus.models.visualization.image_analysis import ImageAnalysis, analyze_image


@pytest.fixture(scope="session")
def seven(pictures: Path) -> ImageAnalysis:
    model = find("lenet")
    return analyze_image(model, model.bundled_weights(), pictures / "digits" / "7.png")


@pytest.fixture(scope="session")
def coffee(pictures: Path) -> ImageAnalysis:
    model = find("efficientnet_lite0")
    return analyze_image(model, model.bundled_weights(), pictures / "coffee.jpg")


@pytest.fixture(scope="session")
def tiny_analysis(tmp_path_factory: pytest.TempPathFactory) -> ImageAnalysis:
    path = tmp_path_factory.mktemp("tiny") / 'a "<&.png'
    Image.fromarray(colours()[0].permute(1, 2, 0).numpy()).save(path)
    return analyze_image(*tiny(TinyGoogLeNet), path)
