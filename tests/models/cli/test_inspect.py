"""Taking models apart with `linnaeus-zoo inspect`."""

import json
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from linnaeus.models.cli.inspect import inspect
from linnaeus.models.registry import find

app = typer.Typer()
app.command("inspect")(inspect)


@app.command("other")
def other() -> None:
    """Keeps Typer from dropping the name of an only command."""


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["inspect", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_inspect_prints_the_tree_with_totals_and_no_colours_into_a_pipe() -> None:
    lines = run("lenet").splitlines()
    assert lines[0] == ("lenet (LeNet, 1998): 1x28x28 in, 10 out, 431,080 parameters, 2,293,000 multiply-adds")
    rows = [line.split() for line in lines]
    assert ["features", "Sequential", "50x4x4", "25,570", "1,888,000"] in rows
    assert ["0", "Conv2d", "5x5", "1x1", "20x24x24", "520", "288,000"] in rows
    assert rows[-1] == ["total", "10", "431,080", "2,293,000"]
    assert "\x1b" not in "".join(lines)


def test_inspect_takes_the_first_stages() -> None:
    lines = run("lenet", "--stages", "3").splitlines()
    assert "stages 1 to 3 of 7 (up to features.2)" in lines[0] and "20x12x12 out" in lines[0]
    assert lines[-1].split() == ["total", "20x12x12", "520", "288,000"]
    assert "classifier" not in "".join(lines)


def test_inspect_lists_the_convolutions_by_their_full_names() -> None:
    lines = run("lenet", "--only", "conv").splitlines()
    names = [line.split()[0] for line in lines[2:-1]]
    assert names == ["features.0", "features.3"]


def test_inspect_lists_the_trained_parameters_with_their_statistics() -> None:
    parameters = {
        entry["name"]: entry for entry in json.loads(run("lenet", "--parameters", "--json"))["named_parameters"]
    }
    trained = find("lenet").bundled_weights().state
    assert list(parameters) == list(trained)
    for name, values in trained.items():
        assert parameters[name]["shape"] == list(values.shape)
        assert parameters[name]["count"] == values.numel()
        assert parameters[name]["mean"] == pytest.approx(values.mean().item())
        assert parameters[name]["std"] == pytest.approx(values.std(correction=0).item())
    table = run("lenet", "--parameters")
    assert "Values: trained, MNIST" in table and "50x20x5x5" in table


def test_inspect_says_which_values_nobody_trained_and_they_stay_the_same() -> None:
    first = run("densenet_cifar", "--parameters")
    assert "Values: untrained" in first
    assert run("densenet_cifar", "--parameters") == first


def test_inspect_shows_the_parameters_of_the_weights_that_are_asked_for(tmp_path: Path) -> None:
    state = {name: torch.full_like(values, 0.25) for name, values in find("lenet").bundled_weights().state.items()}
    torch.save(state, tmp_path / "mine.pth")
    arguments = ("lenet", "--parameters", "--weights", str(tmp_path / "mine.pth"))
    shown = json.loads(run(*arguments, "--json"))["named_parameters"]
    assert {(entry["mean"], entry["std"]) for entry in shown} == {(0.25, 0.0)}
    assert "Values: trained, mine.pth." in run(*arguments)
    assert "Values: untrained, random, seed 0." in run("lenet", "--parameters", "--weights", "random")


def test_inspect_gives_the_same_as_json() -> None:
    anatomy = json.loads(run("lenet", "--json"))
    assert (anatomy["name"], anatomy["input"], anatomy["output"]) == ("lenet", [1, 28, 28], [10])
    assert anatomy["multiply_adds"] == 2_293_000
    assert anatomy["layers"][1] == {
        "name": "features.0",
        "kind": "Conv2d",
        "kernel": [5, 5],
        "stride": [1, 1],
        "outputs": [[20, 24, 24]],
        "parameters": 520,
        "multiply_adds": 288_000,
    }


def test_inspect_refuses_what_it_cannot_show() -> None:
    for arguments, words in (
        (("nothing",), "there is no model 'nothing'"),
        (("lenet", "--stages", "9"), "the network has 7 stages"),
        (("lenet", "--only", "conv", "--parameters"), "say one of them"),
        (("lenet", "--weights", "random"), "say --parameters as well"),
        (("densenet_cifar", "--parameters", "--weights", "bundled"), "no weights come with densenet_cifar"),
    ):
        with pytest.raises(ValueError, match=words):
            run(*arguments)
