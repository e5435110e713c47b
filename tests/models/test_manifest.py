"""The manifest is validated strictly; errors name the field."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.models.manifest import (
    Check,
    InputSpec,
    Manifest,
    ManifestError,
    Weights,
    check_pixels,
    from_json,
    to_json,
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
    version=st.integers(1, 2**62),
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "manifest.json is not valid JSON"),
        ("[]", "manifest.json: the whole must be an object"),
        (changed(sha256=None), "sha256 must be of type str"),
        (changed(version=True), "version must be of type int"),
        (changed(version=0), "version is 0, but must be a positive integer"),
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
    ],
)
def test_the_invalid_field_is_named(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        from_json(text)


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
