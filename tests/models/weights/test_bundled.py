"""The LeNet-5 that comes along reads digits, and is what people get who ask for nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from linnaeus.models.cli import app
from linnaeus.models.manifest import read_manifest
from linnaeus.models.registry import find
from linnaeus.models.training import Digits, evaluate, training_setup
from linnaeus.models.weights.bundled import BUNDLED_FOLDER

RECORD = json.loads((BUNDLED_FOLDER / "lenet5.json").read_text())
# What may be committed; larger weights are made by command.
LARGEST_BYTES = 3_000_000


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, done.output
    return done.stdout


def test_it_reads_at_least_98_point_8_percent_of_the_test_digits_and_as_many_as_its_record_says(
    mnist_test: Digits,
) -> None:
    model = find("lenet5")
    network = model.network()
    network.load_state_dict(model.bundled_weights().state)
    accuracy = evaluate(network, model, mnist_test)
    assert accuracy >= 0.988
    assert accuracy == pytest.approx(RECORD["epochs"][-1]["test_accuracy"], abs=2e-4)


def test_its_record_is_of_the_recipe_that_the_command_follows() -> None:
    recipe = training_setup("lenet5").recipe
    assert (RECORD["model"], RECORD["data"]) == ("lenet5", "MNIST")
    assert RECORD["recipe"] == {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}
    assert [epoch["number"] for epoch in RECORD["epochs"]] == list(range(1, recipe.epochs + 1))


def test_every_bundled_file_is_small_enough_to_be_committed() -> None:
    sizes = {path.name: path.stat().st_size for path in BUNDLED_FOLDER.glob("*.pt")}
    assert sizes.keys() == {"lenet.pt", "lenet5.pt"}
    assert max(sizes.values()) < LARGEST_BYTES


def test_it_is_what_export_takes_unless_told_otherwise(tmp_path: Path) -> None:
    folder = tmp_path / "lenet5" / "1"
    assert run("export", "lenet5", "--repository", str(tmp_path)) == f"{folder}\n"
    weights = read_manifest(folder).weights
    assert (weights.source, weights.seed, weights.trained) == ("MNIST, linnaeus-zoo train lenet5", None, True)
    exported = torch.jit.load(str(folder / "model.pt")).state_dict()
    for name, tensor in find("lenet5").bundled_weights().state.items():
        assert torch.equal(exported[f"backbone.{name}"], tensor), name


def test_the_list_says_that_it_comes_along(listed: dict[str, dict[str, Any]]) -> None:
    assert listed["lenet5"]["weights"] == ["bundled", "random", "FILE"]


def test_the_published_efficientnet_weights_are_all_used_in_their_places() -> None:
    model = find("efficientnet_lite0")
    assert len(model.bundled_weights().state) == len(model.network().state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        model.network().load_state_dict(dict(list(model.bundled_weights().state.items())[1:]))


def test_the_bundled_lenet_reads_at_least_99_percent_of_the_test_digits(mnist_test: Digits) -> None:
    model = find("lenet")
    network = model.network()
    network.load_state_dict(model.bundled_weights().state)
    accuracy = evaluate(network, model, mnist_test)
    assert accuracy >= 0.99
    history = json.loads(BUNDLED_FOLDER.joinpath("lenet.json").read_text())
    assert accuracy == pytest.approx(history["epochs"][-1]["test_accuracy"], abs=2e-4)
