"""`linnaeus-zoo export`: files, weights, labels, and errors that leave no partial files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from linnaeus.models.activation import Activation
from linnaeus.models.cli.commands import app
from linnaeus.models.export import version_folder
from linnaeus.models.export.version_folder import check_input
from linnaeus.models.manifest import read_labels, read_manifest
from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.registry import ZOO, find
from linnaeus.models.weights.random_weights import random_weights


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def small_zoo(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A zoo of two models: `lenet` with bundled weights and `bare` without."""
    for name in ZOO.keys() - {"lenet"}:
        monkeypatch.delitem(ZOO, name)
    monkeypatch.setitem(ZOO, "bare", replace(find("lenet"), name="bare", bundled=None))
    return list(ZOO)


def test_export_all_uses_bundled_weights_and_reports_untrained_models_on_stderr(
    tmp_path: Path, small_zoo: list[str]
) -> None:
    done = run("export", "--all", "--repository", str(tmp_path))
    assert done.exit_code == 0, done.output
    assert done.stdout.split() == [str(tmp_path / name / "1") for name in small_zoo]
    assert done.stderr == "linnaeus-zoo: bare is untrained: random weights, seed 0\n"
    trained = [read_manifest(tmp_path / name / "1").weights.trained for name in small_zoo]
    assert trained == [True, False]


def test_one_name_without_bundled_weights_is_refused_with_the_choices(tmp_path: Path, small_zoo: list[str]) -> None:
    failed = run("export", "bare", "--repository", str(tmp_path))
    assert "say --weights random, --weights DEFAULT or --weights FILE" in str(failed.exception)
    assert list(tmp_path.iterdir()) == []


def test_random_weights_are_recorded_with_their_seed(tmp_path: Path) -> None:
    for seed in ("7", "7", "8"):
        run("export", "lenet", "--weights", "random", "--seed", seed, "--repository", str(tmp_path))
    seen = [read_manifest(tmp_path / "lenet" / version) for version in "123"]
    assert [(each.weights.source, each.weights.seed, each.weights.trained) for each in seen] == [
        ("random", 7, False),
        ("random", 7, False),
        ("random", 8, False),
    ]
    answers = [each.check.probabilities for each in seen]
    assert answers[0] == answers[1] != answers[2]


def test_the_users_labels_decide_the_number_of_classes(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("cat\ndog\nbird\n")
    state = random_weights(find("lenet"), 0, 3).state
    torch.save(state, tmp_path / "mine.pt")
    given = ["export", "lenet", "--labels", str(tmp_path / "labels"), "--repository", str(tmp_path / "repository")]
    for weights in (str(tmp_path / "mine.pt"), "random"):
        assert run(*given, "--weights", weights).exit_code == 0
    for version, source in (("1", "mine.pt"), ("2", "random")):
        folder = tmp_path / "repository" / "lenet" / version
        assert read_manifest(folder).weights.source == source
        assert read_labels(folder, 3) == ("cat", "dog", "bird")
    assert "tells 10 classes apart, but there are 3 labels" in str(run(*given).exception)


def test_a_network_with_independent_labels_is_exported_with_a_sigmoid(tmp_path: Path) -> None:
    done = run("export", "lenet", "--activation", "sigmoid", "--weights", "random", "--repository", str(tmp_path))
    assert done.exit_code == 0, done.output
    network = eager_classifier(find("lenet"), random_weights(find("lenet"), 0), activation=Activation.NONE)
    with torch.inference_mode():
        expected = network(check_input(find("lenet").input)).sigmoid()[0]
    served = read_manifest(tmp_path / "lenet" / "1").check.probabilities
    assert torch.allclose(torch.tensor(served), expected, atol=1e-6) and abs(sum(served) - 1) > 0.1


def test_a_network_that_gives_logits_is_not_exported_without_an_activation(tmp_path: Path) -> None:
    failed = run("export", "lenet", "--activation", "none", "--repository", str(tmp_path))
    assert "which are no probabilities; say --activation softmax if one label" in str(failed.exception)
    assert list(tmp_path.iterdir()) == []


def test_features_are_in_the_manifest_only_of_a_version_that_has_them(tmp_path: Path) -> None:
    run("export", "lenet", "--repository", str(tmp_path))
    assert run("export", "lenet", "--features", "--repository", str(tmp_path)).exit_code == 0
    first, second = ((tmp_path / "lenet" / version / "manifest.json").read_text() for version in "12")
    assert "features" not in first and json.loads(second)["features"] == 500
    assert json.loads(first)["check"] == json.loads(second)["check"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the models to export, or say --all, but not both"),
        (["lenet", "--all"], "but not both"),
        (["lenet", "bare", "--weights", "mine.pt"], "the file mine.pt fits one model at most"),
        (["--all", "--weights", "DEFAULT"], "no weights to download for lenet, bare"),
        (["--all", "--weights", "bundled"], "no weights come with bare"),
        (["lenet", "--weights", "nowhere.pt"], "there is no weights file nowhere.pt"),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    tmp_path: Path, small_zoo: list[str], arguments: list[str], message: str
) -> None:
    failed = run("export", *arguments, "--repository", str(tmp_path))
    assert message in str(failed.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_during_export_all_keeps_complete_versions_only(
    tmp_path: Path, small_zoo: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    flush = version_folder._fsync

    def crash(folder: Path) -> None:
        if '"bare"' in (folder / "manifest.json").read_text():
            raise OSError("disk full")
        flush(folder)

    monkeypatch.setattr(version_folder, "_fsync", crash)
    failed = run("export", "--all", "--repository", str(tmp_path))
    assert "disk full" in str(failed.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["lenet"]
    assert read_manifest(tmp_path / "lenet" / "1").classes == 10


def test_export_builds_a_regnet_from_the_given_parameters(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    shape = ["--depth", "4", "--w0", "16", "--wa", "8", "--wm", "2", "--group-width", "8", "--se-ratio", "0.25"]
    done = run_zoo("export", "regnet", *shape, "--weights", "random", "--repository", str(tmp_path))
    assert done.output == f"{tmp_path / 'regnet' / '1'}\n", done.errors
    manifest = json.loads((tmp_path / "regnet" / "1" / "manifest.json").read_text())
    assert manifest["parameters"] < 200_000 and manifest["weights"] == {"source": "random", "seed": 0}
    refused = run_zoo("export", "lenet", "--depth", "4", "--repository", str(tmp_path))
    assert refused.exit_code == 1 and "shape the model regnet" in refused.errors
