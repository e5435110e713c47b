"""`linnaeus-zoo train` writes weights, record and plot, or nothing."""

import json
import shlex
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from linnaeus.models import training
from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain
from linnaeus.models.cli.commands import app as zoo
from linnaeus.models.cli.train import train as command
from linnaeus.models.training import Recipe, TrainingSetup
from linnaeus.models.training.recipes import _SETUPS


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An app with this command only, and a short recipe for `lenet`."""
    monkeypatch.setitem(_SETUPS, "lenet", TrainingSetup(Recipe(epochs=2, batch_size=50)))
    app = typer.Typer()
    app.command("train")(command)
    app.command("other")(lambda: None)
    return app


@pytest.mark.slow
def test_googlenet_is_trained_on_image_folders_with_its_auxiliary_heads(
    image_folders: Path, tmp_path: Path, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = training.loop.total_loss

    def counting(outputs: tuple[torch.Tensor, ...], classes: torch.Tensor) -> torch.Tensor:
        steps.append(len(outputs))
        return real(outputs, classes)

    monkeypatch.setattr(training.loop, "total_loss", counting)
    target = tmp_path / "run" / "weights.pt"
    result = CliRunner().invoke(
        app, ["train", "googlenet_plain", "--data", str(image_folders), "--epochs", "1", "--out", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert steps == [3]
    assert (target.parent / "labels.txt").read_text() == "blue\nred\n"
    with_heads = torch.load(target, weights_only=True)
    missing = GoogLeNetPlain(2).load_state_dict(with_heads, strict=False).missing_keys
    assert missing == [] and with_heads["aux1.8.weight"].shape == (2, 2048)
    assert f"export googlenet_plain --weights {target} --labels {target.parent / 'labels.txt'}, " in result.output


@pytest.mark.slow
def test_a_training_writes_weights_record_and_plot(tmp_path: Path, app: typer.Typer, mnist: Path) -> None:
    target = tmp_path / "run" / "weights.pt"
    arguments = ["train", "lenet", "--data", str(mnist), "--out", str(target), "--seed", "7"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in target.parent.iterdir()) == ["weights.json", "weights.png", "weights.pt"]
    kept = json.loads(target.with_suffix(".json").read_text())
    assert (kept["model"], kept["data"], kept["recipe"]["seed"]) == ("lenet", "MNIST", 7)
    *lines, serving = result.output.splitlines()
    assert serving.startswith(f"to serve it: linnaeus-zoo export lenet --weights {target}, then linnaeus-server")
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2", str(target)]
    for line, epoch in zip(lines, kept["epochs"], strict=False):
        assert f"loss {epoch['training_loss']:.4f}" in line and f"test accuracy {epoch['test_accuracy']:.2%}" in line
    with Image.open(target.with_suffix(".png")) as plot:
        assert plot.format == "PNG" and min(plot.size) >= 400


def test_the_command_that_a_training_ends_with_makes_a_version_folder(
    tmp_path: Path, app: typer.Typer, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "my digits" / "weights.pt"
    result = CliRunner().invoke(app, ["train", "lenet", "--data", str(mnist), "--epochs", "1", "--out", str(target)])
    command = shlex.split(result.output.partition("to serve it: linnaeus-zoo ")[2].partition(", then ")[0])
    exported = CliRunner().invoke(zoo, command)
    assert exported.exit_code == 0, exported.output
    assert (tmp_path / "model-repository" / "lenet" / "1" / "manifest.json").is_file()


def test_an_interrupted_training_prints_one_line_and_writes_nothing(
    tmp_path: Path, app: typer.Typer, mnist: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.loop, "evaluate", interrupt)
    arguments = ["train", "lenet", "--data", str(mnist), "--out", str(tmp_path / "run" / "weights.pt")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1 and "interrupted after 0 of 2 epochs" in result.stderr
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize("name", ["resnet18", "nonsense"])
def test_a_model_without_recipe_is_refused_in_one_sentence(name: str, app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["train", name])
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith(f"{name!r} cannot be trained here; these can: lenet, lenet5, mnist_cnn")
