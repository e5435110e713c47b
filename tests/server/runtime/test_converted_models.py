"""A model that OpenVINO converted is kept between starts, and what cannot be read or written does without."""

from pathlib import Path

import pytest

from linnaeus.server.runtime import openvino_conversion
from linnaeus.server.runtime.artifact_checks import Artifact, read_artifact
from linnaeus.server.runtime.calibration_images import generated_pictures
from linnaeus.server.runtime.openvino_conversion import openvino_model
from linnaeus.server.runtime.openvino_runner import CompileOptions, OpenVinoRunner
from linnaeus.server.runtime.runner import BatchOutput

OPTIONS = CompileOptions(threads=1, on_one_core=False, precision="float32", weights_bytes=10, memory_factor=2.0)


@pytest.fixture
def lenet(repository: Path) -> Artifact:
    return read_artifact(repository / "lenet" / "1")


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files that were converted."""
    converted: list[str] = []
    convert = openvino_conversion._convert
    monkeypatch.setattr(
        openvino_conversion, "_convert", lambda path, spec: converted.append(path) or convert(path, spec)
    )
    return converted


def answers(artifact: Artifact, folder: Path | str) -> BatchOutput:
    runner = OpenVinoRunner(openvino_model(artifact, str(folder)), artifact.manifest.input, 4, [1, 4], OPTIONS)
    try:
        return runner.run(generated_pictures(artifact.manifest.input)[:4], 3)
    finally:
        runner.close()


def test_a_kept_model_answers_the_same_and_is_not_converted_again(
    lenet: Artifact, tmp_path: Path, conversions: list[str]
) -> None:
    first = answers(lenet, tmp_path)
    assert answers(lenet, tmp_path) == first and len(conversions) == 1
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".bin", ".xml"]


def test_a_kept_model_that_is_broken_is_converted_anew(lenet: Artifact, tmp_path: Path, conversions: list[str]) -> None:
    first = answers(lenet, tmp_path)
    (description,) = tmp_path.glob("*.xml")
    description.write_text("<net")
    assert answers(lenet, tmp_path) == first and len(conversions) == 2
    assert answers(lenet, tmp_path) == first and len(conversions) == 2


@pytest.mark.parametrize("folder", ["", "missing/folder"])
def test_without_a_folder_every_load_converts(
    lenet: Artifact, tmp_path: Path, conversions: list[str], folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert answers(lenet, folder) == answers(lenet, folder) and len(conversions) == 2
    assert not list(tmp_path.iterdir())
