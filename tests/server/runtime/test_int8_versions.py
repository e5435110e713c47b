"""An int8 version is computed in int8 by OpenVINO, and by nothing else."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.quantized_versions import add_int8_version

from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def int8(repository: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("int8")
    shutil.copytree(repository / "lenet" / "1", root / "lenet" / "1")
    return add_int8_version(root, "lenet", pictures / "digits")


def load(folder: Path, runtime: str = "auto", precision: str = "float32") -> Model:
    return load_model(folder, CPU, 2, options=LoadOptions(runtime, precision))


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "auto"])
def test_the_version_decides_the_precision_and_the_digits_are_named(int8: Path, pictures: Path, precision: str) -> None:
    model = load(int8, precision=precision)
    fitted = model.specialisation
    assert fitted is not None and (fitted.runtime, fitted.precision) == ("openvino", "int8")
    for path in sorted((pictures / "digits").glob("*.png")):
        image = to_pixels(load_image(path, model.manifest.input)).permute(0, 2, 3, 1)[0].numpy()
        (answer,) = model.probabilities([image])
        assert answer.index(max(answer)) == int(path.stem)
    model.close()


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
