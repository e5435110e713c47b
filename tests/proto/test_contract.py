"""The generated stubs match the contract, whose numbers never change."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.v1 import classifier_pb2 as v1

ROOT = Path(__file__).resolve().parents[2]


def generated_in(folder: Path) -> list[Path]:
    found = [path for pattern in ("*_pb2*.py", "*_pb2*.pyi") for path in folder.rglob(pattern)]
    return sorted(path.relative_to(folder) for path in found)


def test_the_committed_stubs_equal_the_generated_ones(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = [sys.executable, str(ROOT / "scripts" / "generate_stubs.py"), str(tmp_path)]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path}, capture_output=True, timeout=60)
    made = generated_in(tmp_path)
    assert made == generated_in(ROOT / "proto") and len(made) == 8
    for name in made:
        assert (tmp_path / name).read_text() == (ROOT / "proto" / name).read_text(), f"{name}: run make proto"


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (
            "ClassifyRequest",
            {"image": 1, "model": 2, "version": 3, "top_k": 4, "priority": 5, "min_probability": 6, "want_features": 7},
        ),
        (
            "ClassifyResponse",
            {"classes": 1, "model": 2, "version": 3, "batch_size": 4, "timings": 5, "image_id": 6, "features": 7},
        ),
        ("Image", {"encoded": 1, "pixels": 2, "id": 3}),
        ("ScoredClass", {"index": 1, "label": 2, "probability": 3}),
        ("Timings", {"decode_seconds": 1, "queue_seconds": 2, "inference_seconds": 3}),
        (
            "ClassifyBatchRequest",
            {
                "images": 1,
                "model": 2,
                "version": 3,
                "top_k": 4,
                "priority": 5,
                "min_probability": 6,
                "want_features": 7,
            },
        ),
        ("GetModelResponse", {"model": 1, "labels": 2, "batch_latencies": 3, "prediction_error": 4}),
        ("BatchLatency", {"device": 1, "batch_size": 2, "seconds": 3}),
        ("PredictionError", {"median_seconds": 1, "margin_seconds": 2}),
    ],
)
def test_field_numbers_never_change(message: str, fields: dict[str, int]) -> None:
    descriptor = v1.DESCRIPTOR.message_types_by_name[message]
    assert {field.name: field.number for field in descriptor.fields} == fields


@pytest.mark.parametrize(
    ("enumeration", "names"),
    [
        ("Priority", ["PRIORITY_UNSPECIFIED", "PRIORITY_LOW", "PRIORITY_NORMAL", "PRIORITY_HIGH"]),
        (
            "ModelState",
            [
                "MODEL_STATE_UNSPECIFIED",
                "MODEL_STATE_LOADING",
                "MODEL_STATE_READY",
                "MODEL_STATE_FAILED",
                "MODEL_STATE_DRAINING",
                "MODEL_STATE_UNLOADED",
            ],
        ),
    ],
)
def test_enumeration_numbers_never_change(enumeration: str, names: list[str]) -> None:
    values = v1.DESCRIPTOR.enum_types_by_name[enumeration].values_by_name
    assert {name: value.number for name, value in values.items()} == dict(zip(names, range(len(names)), strict=True))


def test_the_services_have_all_their_methods() -> None:
    services = v1.DESCRIPTOR.services_by_name
    assert [method.name for method in services["ClassifierService"].methods] == [
        "Classify",
        "ClassifyBatch",
        "StreamClassify",
        "ListModels",
        "GetModel",
    ]
    assert "LoadModel" in services["ModelService"].methods_by_name
