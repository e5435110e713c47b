"""The manifest is validated strictly; errors name the field."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.manifest import (
    Check,
    InputSpec,
    Manifest,
    ManifestError,
    Quantization,
    Weights,
    check_pixels,
    from_json,
    read_labels,
    read_manifest,
    to_json,
    version_of_folder,
)

SPEC = InputSpec(channels=1, height=2, width=3, resize=4, interpolation="bilinear")
SPEC_FIELDS = dataclasses.asdict(SPEC)
GOOD = Manifest(
    name="tiny",
    version=1,
    architecture="Tiny",
    task="image-classification",
    input=SPEC,
    classes=2,
    weights=Weights("random", 7),
    parameters=12,
    sha256="ab" * 32,
    torch_version="2.14.1",
    check=Check("seed", 1e-3, (0.25, 0.75)),
)


def changed(**fields: Any) -> str:
    return json.dumps(dataclasses.asdict(GOOD) | fields)


@given(
    name=st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True),
    version=st.integers(1, 10**18 - 1),
    probabilities=st.lists(st.floats(0, 1), min_size=1, max_size=20),
    source=st.text(),
)
def test_a_written_manifest_is_read_back_unchanged(
    name: str, version: int, probabilities: list[float], source: str
) -> None:
    manifest = dataclasses.replace(
        GOOD,
        name=name,
        version=version,
        classes=len(probabilities),
        weights=Weights(source),
        check=Check("seed", 0.0, tuple(probabilities)),
    )
    assert from_json(to_json(manifest)) == manifest


@pytest.mark.parametrize(("model_format", "file"), [("onnx", "model.onnx"), ("openvino", "model.xml")])
def test_another_format_is_written_and_read_back(model_format: str, file: str) -> None:
    manifest = dataclasses.replace(GOOD, model_format=model_format)
    assert from_json(to_json(manifest)) == manifest
    assert manifest.model_file == file


QUANTIZATION = Quantization("int8", 1, "cd" * 32, 300, 10_000, 0.9998, (0.9993, 0.9999), 0.995, 0.9951)


@pytest.mark.parametrize("without_labels", [False, True])
def test_how_a_version_was_quantized_is_written_and_read_back(without_labels: bool) -> None:
    made = dataclasses.replace(QUANTIZATION, accuracy_float32=None, accuracy=None) if without_labels else QUANTIZATION
    manifest = dataclasses.replace(GOOD, quantization=made)
    assert from_json(to_json(manifest)) == manifest


def test_a_manifest_of_torchscript_is_one_that_earlier_releases_read() -> None:
    assert "model_format" not in to_json(GOOD) and "quantization" not in to_json(GOOD)
    assert from_json(to_json(GOOD)).model_file == "model.pt"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(model_format="keras"), "model_format is 'keras', but this release knows torchscript, onnx, openvino"),
        *(
            (changed(quantization=dataclasses.asdict(QUANTIZATION) | wrong), f"quantization.{message}")
            for wrong, message in (
                ({"precision": "int4"}, "precision is 'int4', but this release knows int8"),
                ({"agreement_interval": [0.9]}, "agreement_interval has 1 entries, but must have 2"),
                ({"agreement": 1.5}, "agreement, agreement_interval and the accuracies must be between 0 and 1"),
                ({"accuracy": -0.1}, "agreement, agreement_interval and the accuracies"),
                ({"accepted": None}, "accepted"),
            )
        ),
        ("{", "manifest.json is not valid JSON"),
        ("[]", "manifest.json: the whole must be an object"),
        (changed(sha256=None), "sha256 is null, but must be text"),
        (changed(version=True), "version is true, but must be a whole number"),
        (changed(version=0), "version is 0, but must be a positive integer"),
        (
            changed(version=10**18),
            "version is 1000000000000000000, but must be a positive integer of at most 18 digits",
        ),
        (changed(colour="red"), "colour is not a known field"),
        (changed(task="segmentation"), "task is 'segmentation'"),
        (changed(format=2), "format is 2, but this release reads format 1"),
        (changed(name="../up"), "name is '../up'"),
        (changed(classes=3), "check.probabilities has 2 entries for 3 classes"),
        (changed(input={"channels": 1}), "input.height is missing"),
        (changed(input=SPEC_FIELDS | {"channels": 2}), "input.channels is 2, but must be 1 or 3"),
        (
            changed(input=SPEC_FIELDS | {"resize": 2}),
            "input.height and width must be between 1 and resize",
        ),
        (changed(check={"seed": "s", "tolerance": 0.1, "probabilities": [0.5, "x"]}), r"check.probabilities\[1\]"),
        (json.dumps({}), "architecture is missing"),
        ("[" * 100_000, "manifest.json is not valid JSON: it nests too deeply"),
        ('{"format": ' + "9" * 5_000, "manifest.json is not valid JSON: a number has too many digits"),
        (changed(classes=10**22), "check.probabilities has 2 entries for 10000000000000000000000 classes"),
        *(
            (
                changed(check={"seed": "s", "tolerance": wrong, "probabilities": [0.5, 0.5]}),
                "check.tolerance is .*, but must be a",
            )
            for wrong in (float("nan"), float("inf"), 10**400, True, "1", None)
        ),
    ],
)
def test_the_invalid_field_is_named(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        from_json(text)


def test_a_manifest_from_windows_is_read_as_it_is_meant(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xef\xbb\xbf" + to_json(GOOD).replace("\n", "\r\n").encode())
    assert read_manifest(tmp_path) == GOOD
    (tmp_path / "manifest.json").write_bytes(to_json(GOOD).encode("utf-16"))
    with pytest.raises(ManifestError, match=r"^manifest.json cannot be read: it is UTF-16"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", ["", "{end}", "{end}{end}", "{end} {end}\t{end}"])
def test_labels_from_any_editor_are_read_as_they_are_meant(tmp_path: Path, mark: str, end: str, last: str) -> None:
    labels = ("cat", " dog, hound ", "thé\u2028\u2029\x85", "a\tb")
    (tmp_path / "labels.txt").write_bytes((mark + end.join(labels) + last.format(end=end)).encode())
    assert read_labels(tmp_path, 4) == labels


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"cat\n\ndog\n", "labels.txt line 2 is empty, but must be the label of class 1"),
        (b"cat\nd\0g\n", "labels.txt cannot be read: it holds NUL in line 2"),
        (b"cat\ndog\x0b\n", r"labels.txt line 2 holds the control character U\+000B"),
        (b"cat\x0cdog\nx", r"labels.txt line 1 holds the control character U\+000C"),
        (b"cat\rdog\r", r"labels.txt line 1 holds the control character U\+000D"),
        (b"cat\n\x1b[2Jdog\n", r"labels.txt line 2 holds the control character U\+001B"),
        ("cat\ndog\n".encode("utf-16"), "labels.txt cannot be read: it is UTF-16"),
        ("cat\nthé\n".encode("latin-1"), "labels.txt cannot be read: it is not UTF-8"),
        (b"cat\n", "labels.txt has 1 lines, but manifest.json says classes is 2"),
        (b"", "labels.txt has 0 lines"),
    ],
)
def test_labels_that_are_no_labels_are_refused_in_a_sentence(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(ManifestError, match=f"^{message}"):
        read_labels(tmp_path, 2)


@pytest.mark.parametrize(
    ("name", "version"),
    [("1", 1), ("0001", 1), ("010", 10), ("9" * 18, 10**18 - 1), (f"{'0' * 200}7", 7)]
    + [(name, None) for name in ("", "0", "000", "-1", "+1", "1 ", " 1", "1_0", "１", "²", "1.0", "v1", "9" * 19)],
)
def test_a_folder_is_a_version_if_it_has_ascii_digits_only(name: str, version: int | None) -> None:
    assert version_of_folder(name) == version


def test_weights_from_random_are_untrained() -> None:
    assert not GOOD.weights.trained
    assert Weights("a package").trained


def test_the_input_of_the_check_is_constant_and_has_the_models_size() -> None:
    assert check_pixels(SPEC, "seed").hex() == "4fd6803de29f"
    coloured = dataclasses.replace(SPEC, channels=3, height=4, width=4)
    assert check_pixels(coloured, "seed") == hashlib.shake_256(b"seed").digest(48)


def test_the_manifest_imports_without_torch() -> None:
    program = "import sys, linnaeus.models.manifest; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
