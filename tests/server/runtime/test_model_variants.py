"""Models loaded in another precision agree with float32, on recorded or generated pictures."""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import read_artifact
from linnaeus.server.runtime.calibration_images import generated_pictures
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.openvino_conversion import openvino_precisions
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.variants import Requested, Variant, compare

CPU = torch.device("cpu")


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1"))


def load(folder: Path, size: int, runtime: str, precision: str = "float32") -> Model:
    return load_model(folder, CPU, size, options=LoadOptions(runtime=runtime, precision=precision))


def record_pictures(folder: Path, pictures: Sequence[Pixels]) -> None:
    content = b"".join(picture.tobytes() for picture in pictures)
    (folder / "calibration.bin").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"] = {"pictures": len(pictures), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("runtime", "precision"),
    [("torchscript", "bfloat16"), ("torchscript", "float16")]
    + [("openvino", each) for each in ("bfloat16", "float16") if each in openvino_precisions()],
)
def test_a_served_model_agrees_with_float32(runtime: str, precision: str, folder: Path) -> None:
    plain, other = (load(folder, 2, runtime, each) for each in ("float32", precision))
    pictures = generated_pictures(plain.manifest.input)[:8]
    answers = [[model.probabilities([picture])[0] for picture in pictures] for model in (other, plain)]
    assert 0 < compare(*answers).difference < 0.02
    assert (other.specialisation.precision, other.specialisation.memory_format) == (precision, "channels_last")
    assert "generated pictures" in other.specialisation.precision_reason


def test_recorded_pictures_are_compared(folder: Path) -> None:
    record_pictures(folder, generated_pictures(read_artifact(folder).manifest.input)[:3])
    reason = load(folder, 1, "torchscript", "bfloat16").specialisation.precision_reason
    assert "of 3 pictures" in reason and reason.endswith("recorded pictures)")


def test_changed_or_missing_recorded_pictures_are_refused(folder: Path) -> None:
    record_pictures(folder, generated_pictures(read_artifact(folder).manifest.input)[:1])
    (folder / "calibration.bin").write_bytes(b"\0" * 784)
    with pytest.raises(ModelRefused, match=r"^calibration.bin is not the one"):
        load(folder, 1, "torchscript", "auto")
    (folder / "calibration.bin").unlink()
    with pytest.raises(ModelRefused, match=r"^calibration.bin is missing"):
        load(folder, 1, "torchscript", "auto")


def test_a_corrupt_artifact_is_refused_in_any_precision(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["check"]["probabilities"] = manifest["check"]["probabilities"][::-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefused, match=r"^model.pt differs"):
        load(folder, 1, "torchscript", "bfloat16")


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True], ids=["launched", "recorded"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "auto"])
def test_a_model_on_a_gpu_agrees_with_float32(precision: str, graphs: bool, folder: Path) -> None:
    gpu = torch.device("cuda", 0)
    plain, other = (
        load_model(folder, gpu, 4, options=LoadOptions(precision=each, cuda_graphs=graphs))
        for each in ("float32", precision)
    )
    try:
        pictures = generated_pictures(plain.manifest.input)[:4]
        assert compare(other.probabilities(pictures), plain.probabilities(pictures)).holds(
            Variant("torchscript", "bfloat16"), Requested(precision="auto")
        )
    finally:
        plain.close()
        other.close()
