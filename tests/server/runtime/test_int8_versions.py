"""An int8 version is computed in int8 by OpenVINO, and by nothing else; of a version with features it has them too."""

import json
import shutil
from pathlib import Path

import numpy
import pytest
import torch
from tests.quantized_versions import add_int8_version

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.registry import find
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.runner import Pixels

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def int8(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("int8")
    export_torchscript(find("lenet"), find("lenet").bundled_weights(), root, 1, features=True)
    return add_int8_version(root, "lenet", pictures / "digits")


def load(folder: Path, runtime: str = "auto", precision: str = "float32") -> Model:
    return load_model(folder, CPU, 2, options=LoadOptions(runtime, precision))


def digit(path: Path, model: Model) -> Pixels:
    pixels: Pixels = to_pixels(load_image(path, model.manifest.input)).permute(0, 2, 3, 1)[0].numpy()
    return pixels


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "auto"])
def test_the_version_decides_the_precision_and_the_digits_are_named(int8: Path, pictures: Path, precision: str) -> None:
    model = load(int8, precision=precision)
    fitted = model.specialisation
    assert fitted is not None and (fitted.runtime, fitted.precision) == ("openvino", "int8")
    for path in sorted((pictures / "digits").glob("*.png")):
        (answer,) = model.probabilities([digit(path, model)])
        assert answer.index(max(answer)) == int(path.stem)
    model.close()


def test_its_features_are_close_to_those_of_float32(int8: Path, pictures: Path) -> None:
    model, original = load(int8), load(int8.parent / "1", "torchscript")
    images = [digit(path, model) for path in sorted((pictures / "digits").glob("*.png"))]
    given, expected = (features(each, images) for each in (model, original))
    assert given.shape == expected.shape == (6, 500)
    assert (cosine(given, expected) > 0.99).all()
    assert (cosine(given, numpy.roll(expected, 1, axis=0)) < 0.5).all(), "the test could not detect another image's"
    model.close()
    original.close()


def features(model: Model, images: list[Pixels]) -> numpy.ndarray:
    batches = [model.run(images[start : start + 2], 1, want_features=True) for start in range(0, len(images), 2)]
    return numpy.array([numpy.frombuffer(each.features, "<f4") for batch in batches for each in batch])


def cosine(one: numpy.ndarray, other: numpy.ndarray) -> numpy.ndarray:
    return (one * other).sum(1) / numpy.linalg.norm(one, axis=1) / numpy.linalg.norm(other, axis=1)


def test_torchscript_is_refused_for_it(int8: Path) -> None:
    with pytest.raises(ModelRefused, match="runtime is torchscript, which cannot run model.xml on cpu, but openvino"):
        load(int8, runtime="torchscript")


def test_a_processor_that_does_not_reproduce_the_recorded_run_refuses_it(int8: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(int8, tmp_path / "lenet" / "2")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["check"]["probabilities"][0] += 0.01
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefused, match=r"model.xml differs by 0.01 from check.probabilities .* 0.005"):
        load(folder)
