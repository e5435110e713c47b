"""`linnaeus-zoo quantize` writes an int8 version that agrees with its original, and none that does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from PIL import Image
from tests.models.own_model.tiny_networks import Tiny
from torch import Tensor

from linnaeus.models.export.torchscript import to_torchscript
from linnaeus.models.export.version_folder import TorchScriptModel, VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights, read_manifest
from linnaeus.models.model_format import OPENVINO, model_files_digest
from linnaeus.models.pixel_classifier import PixelClassifier
from linnaeus.models.quantization.conversion import open_model, probabilities_of, top1
from linnaeus.models.quantization.pictures import DigitPictures
from linnaeus.models.training import Digits

SPEC = InputSpec(channels=3, height=8, width=8, resize=8, interpolation="bilinear")
PICTURES = 402

Zoo = Callable[..., Any]


class Uneven(Tiny):
    """Has activations a thousand times larger than those that decide, so that the latter get few steps of int8."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.layers[0].weight[0] *= 1000
            self.layers[4].weight[:, :36] = 0  # of the first of four channels, 6 x 6

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures of noise, 201 of which are held out."""
    folder = tmp_path_factory.mktemp("noise")
    chance = numpy.random.default_rng(0)
    for number in range(PICTURES):
        pixels = chance.integers(0, 256, (8, 8, 3), numpy.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a network that does not stand quantization."""
    root = tmp_path_factory.mktemp("uneven")
    script = to_torchscript(PixelClassifier(Uneven(), (0.5,) * 3, (0.25,) * 3).eval())
    recorded = tuple(script(check_input(SPEC))[0].tolist())
    labels = ("a", "b", "c")
    content = VersionContent("uneven", "Tiny", SPEC, labels, Weights("test"), TorchScriptModel(script), recorded)
    write_version(content, root, 1)
    return root


@pytest.fixture(scope="module")
def digits(repository: Path, mnist: Path, run_zoo: Zoo, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A repository with lenet as float32 and int8, and what the command said."""
    root = tmp_path_factory.mktemp("digits")
    shutil.copytree(repository / "lenet" / "1", root / "lenet" / "1")
    done = run_zoo("quantize", "lenet", "--calibration", str(mnist), "--repository", str(root))
    assert done.exit_code == 0, done.errors
    return root, done


def test_lenet_loses_a_tenth_of_a_point_at_most_and_the_figures_are_told_and_recorded(
    digits: tuple[Path, Any],
) -> None:
    root, done = digits
    figures, path = done.output.splitlines()
    assert path == str(root / "lenet" / "2")
    original, manifest = read_manifest(root / "lenet" / "1"), read_manifest(root / "lenet" / "2")
    made = manifest.quantization
    assert made is not None and made.accuracy is not None and made.accuracy_float32 is not None
    assert (made.precision, made.version, made.sha256, made.accepted) == ("int8", 1, original.sha256, False)
    assert (made.calibration_pictures, made.held_out_pictures) == (300, 10_000)
    assert made.accuracy_float32 == pytest.approx(0.995, abs=1e-4)
    assert made.accuracy_float32 - made.accuracy <= 0.001
    assert made.agreement_interval[0] < made.agreement < made.agreement_interval[1]
    assert figures.startswith(f"int8 has the same top-1 as float32 on {round(made.agreement * 10_000)} of 10000 ")
    assert figures.endswith(f"accuracy {made.accuracy_float32:.2%} as float32, {made.accuracy:.2%} as int8")


def test_the_version_is_whole_and_computes_in_int8_what_its_manifest_recorded(
    digits: tuple[Path, Any], mnist_test: Digits
) -> None:
    root, _ = digits
    folder = root / "lenet" / "2"
    assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "manifest.json", "model.bin", "model.xml"]
    original, manifest = read_manifest(root / "lenet" / "1"), read_manifest(folder)
    assert (manifest.model_format, manifest.sha256) == (OPENVINO, model_files_digest(folder, OPENVINO))
    assert (manifest.weights, manifest.input, manifest.parameters) == (
        original.weights,
        original.input,
        original.parameters,
    )
    model = open_model(folder, manifest)
    recorded = torch.tensor(manifest.check.probabilities)
    computed = probabilities_of(model, check_input(manifest.input), manifest.input)
    assert torch.allclose(computed, recorded, atol=manifest.check.tolerance)
    # A quarter of the float32 weights: they are stored as int8.
    assert (folder / "model.bin").stat().st_size < 1.1 * manifest.parameters
    some = DigitPictures(Digits(mnist_test.pixels[:101], mnist_test.classes[:101]))
    (found,) = top1([model], some, manifest.input)
    assert (found == some.classes).sum() >= 99


def test_an_int8_version_is_not_quantized_again(digits: tuple[Path, Any], mnist: Path, run_zoo: Zoo) -> None:
    root, _ = digits
    done = run_zoo("quantize", "lenet:2", "--calibration", str(mnist), "--repository", str(root))
    assert done.exit_code == 1 and "is int8 already; name the version that it was made of" in done.errors
    assert not (root / "lenet" / "3").exists()


def test_a_model_that_answers_otherwise_in_int8_is_refused_unless_it_is_accepted(
    uneven: Path, noise: Path, run_zoo: Zoo
) -> None:
    command = ("quantize", "uneven", "--calibration", str(noise), "--repository", str(uneven))
    refused = run_zoo(*command)
    assert refused.exit_code == 1 and refused.output == ""
    assert refused.errors.splitlines()[-1].startswith("linnaeus-zoo: int8 has the same top-1 as float32 on ")
    assert "but must on 95%" in refused.errors and "say --accept" in refused.errors
    assert [path.name for path in uneven.rglob("*") if path.is_dir()] == ["uneven", "1"]
    accepted = run_zoo(*command, "--accept", "--version", "5")
    assert accepted.exit_code == 0, accepted.errors
    made = read_manifest(uneven / "uneven" / "5").quantization
    assert made is not None and made.accepted and made.agreement < 0.95 and made.accuracy is None
    assert made.held_out_pictures == PICTURES // 2
    shutil.rmtree(uneven / "uneven" / "5")


def test_too_few_pictures_are_refused_with_the_number_that_is_needed(uneven: Path, noise: Path, run_zoo: Zoo) -> None:
    command = ("quantize", "uneven", "--calibration", str(noise), "--repository", str(uneven), "--held-out", "199")
    done = run_zoo(*command)
    assert done.exit_code == 1
    assert "199 pictures are held out to judge the int8 model by, but 200 are needed" in done.errors


def test_a_model_whose_conversion_computes_something_else_is_refused(
    uneven: Path, noise: Path, run_zoo: Zoo, tmp_path: Path
) -> None:
    shutil.copytree(uneven / "uneven" / "1", tmp_path / "uneven" / "1")
    path = tmp_path / "uneven" / "1" / "manifest.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"check": {**fields["check"], "probabilities": [0.9, 0.05, 0.05]}}))
    done = run_zoo("quantize", "uneven", "--calibration", str(noise), "--repository", str(tmp_path))
    assert done.exit_code == 1 and "from the recorded run of version 1" in done.errors


def test_a_version_whose_file_was_changed_is_refused(uneven: Path, noise: Path, run_zoo: Zoo, tmp_path: Path) -> None:
    shutil.copytree(uneven / "uneven" / "1", tmp_path / "uneven" / "1")
    with (tmp_path / "uneven" / "1" / "model.pt").open("ab") as file:
        file.write(b"more")
    done = run_zoo("quantize", "uneven", "--calibration", str(noise), "--repository", str(tmp_path))
    assert done.exit_code == 1 and "is not the one that manifest.json tells of" in done.errors
