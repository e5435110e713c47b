"""Training learns, repeats itself by its seed, says what happened, and leaves whole files or none."""

import json
from pathlib import Path

import numpy
import pytest
import torch
import typer
from PIL import Image
from torch import nn
from torch.nn import functional
from typer.testing import CliRunner

from linnaeus.models import labels, training
from linnaeus.models.architectures.googlenet_plain import GoogLeNetPlain
from linnaeus.models.cli.train import train as command
from linnaeus.models.manifest import InputSpec
from linnaeus.models.training import Course, Digits, Epoch, Material, Recipe, history
from linnaeus.models.training.recipe import _COURSES
from linnaeus.models.zoo_model import ZooModel
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import RawPixels

SPEC = InputSpec(channels=3, height=32, width=32, resize=32, interpolation="bilinear")
COLOURS = {"blue": (0, 0, 200), "red": (200, 0, 0)}


def tiny(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(100, classes)
    )


def row(spec: InputSpec = SPEC) -> ZooModel:
    return ZooModel("tiny", "Tiny", 2024, tiny, spec, (0.5,) * 3, (0.5,) * 3, labels.digits)


@pytest.fixture
def part(mnist_train: Digits) -> Digits:
    return Digits(mnist_train.pixels[:300], mnist_train.classes[:300])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Red and blue noise: six pictures of each to learn from, two to be judged by, of odd sizes."""
    chance = numpy.random.default_rng(0)
    for part, number in (("train", 6), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for place in range(number):
                pixels = numpy.array(colour) + chance.integers(0, 50, (90 + place, 80, 3))
                path = tmp_path / "pictures" / part / name / f"{place}.png"
                Image.fromarray(pixels.astype(numpy.uint8)).save(path)
    return tmp_path / "pictures"


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """The command alone, where `lenet` has a small recipe."""
    monkeypatch.setitem(_COURSES, "lenet", Course(Recipe(epochs=2, batch_size=50)))
    app = typer.Typer()
    app.command("train")(command)
    app.command("other")(lambda: None)
    return app


def test_the_loss_falls_and_the_same_seed_repeats_exactly(part: Digits) -> None:
    recipe = Recipe(epochs=3, batch_size=20, peak_learning_rate=1e-2)
    one, first = training.train(row(), part, part, recipe, lambda _: None)
    two, _ = training.train(row(), part, part, recipe, lambda _: None)
    other, _ = training.train(row(), part, part, Recipe(3, 20, 1e-2, seed=1), lambda _: None)
    assert first[-1].training_loss < 0.8 * first[0].training_loss
    assert not one.training
    weights = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_learning_is_in_training_mode_and_judging_in_evaluation_mode(part: Digits) -> None:
    modes: list[tuple[bool, int]] = []

    class Watching(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.inner = tiny(classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, len(images)))
            logits: torch.Tensor = self.inner(images)
            return logits

    training.train(row(), part, part, Recipe(epochs=2, batch_size=150), lambda _: None, build=Watching)
    assert modes == [*[(True, 150)] * 2, *[(False, 100)] * 3] * 2


def test_digits_are_shown_as_the_server_shows_them(part: Digits) -> None:
    pixels, classes = part.fitted(SPEC).batch(torch.arange(5))
    assert pixels.shape == (5, 3, 32, 32) and pixels.dtype == torch.uint8
    assert torch.equal(classes, part.classes[:5])
    for digit, shown in zip(part.pixels, pixels, strict=False):
        served = decode(RawPixels(digit.numpy().tobytes(), 28, 28, 1), SPEC, 10_000)
        difference = torch.from_numpy(served).permute(2, 0, 1).int() - shown.int()
        assert difference.abs().max() <= 1


def test_pictures_are_shown_as_the_server_shows_them(folder: Path) -> None:
    spec = InputSpec(channels=3, height=40, width=40, resize=48, interpolation="bicubic")
    learning, _ = training.load_pictures(folder, spec)
    pixels, classes = learning.batch(torch.tensor([11]))
    file = numpy.array(Image.open(folder / "train" / "red" / "5.png"))
    served = decode(RawPixels(file.tobytes(), *file.shape), spec, 100_000)
    assert classes.tolist() == [1] and learning.labels == ("blue", "red")
    assert (torch.from_numpy(served).permute(2, 0, 1).int() - pixels[0].int()).abs().max() <= 1


def test_the_auxiliary_heads_count_three_tenths_each() -> None:
    torch.manual_seed(0)
    main, first, second = torch.randn(3, 4, 5).unbind()
    classes = torch.tensor([0, 3, 4, 1])
    one, two, three = (functional.cross_entropy(logits, classes) for logits in (main, first, second))
    torch.testing.assert_close(training.total_loss((main, first, second), classes), one + 0.3 * two + 0.3 * three)
    torch.testing.assert_close(training.total_loss(main, classes), one)


def test_googlenet_learns_from_a_folder_of_pictures_with_its_heads(
    folder: Path, tmp_path: Path, app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    real = training.loop.total_loss

    def counting(outputs: tuple[torch.Tensor, ...], classes: torch.Tensor) -> torch.Tensor:
        steps.append(len(outputs))
        return real(outputs, classes)

    monkeypatch.setattr(training.loop, "total_loss", counting)
    target = tmp_path / "run" / "weights.pt"
    result = CliRunner().invoke(
        app, ["train", "googlenet_plain", "--data", str(folder), "--epochs", "1", "--out", str(target)]
    )
    assert result.exit_code == 0, result.output
    assert steps == [3]
    assert (target.parent / "labels.txt").read_text() == "blue\nred\n"
    with_heads = torch.load(target, weights_only=True)
    missing = GoogLeNetPlain(2).load_state_dict(with_heads, strict=False).missing_keys
    assert missing == [] and with_heads["aux1.8.weight"].shape == (2, 2048)


def test_a_training_leaves_weights_its_record_and_its_plot(tmp_path: Path, app: typer.Typer, mnist: Path) -> None:
    target = tmp_path / "run" / "weights.pt"
    arguments = ["train", "lenet", "--data", str(mnist), "--out", str(target), "--seed", "7"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in target.parent.iterdir()) == ["weights.json", "weights.png", "weights.pt"]
    kept = json.loads(target.with_suffix(".json").read_text())
    assert (kept["model"], kept["data"], kept["recipe"]["seed"]) == ("lenet", "MNIST", 7)
    lines = result.output.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["epoch 1", "epoch 2", str(target)]
    for line, epoch in zip(lines, kept["epochs"], strict=False):
        assert f"loss {epoch['training_loss']:.4f}" in line and f"test accuracy {epoch['test_accuracy']:.2%}" in line
    with Image.open(target.with_suffix(".png")) as plot:
        assert plot.format == "PNG" and min(plot.size) >= 400


def test_an_interrupted_training_is_one_line_and_leaves_nothing(
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


def test_an_interrupted_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    monkeypatch.setattr(history, "draw_history", lambda *_: None)
    target = tmp_path / "weights.pt"
    target.write_bytes(b"of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        training.save_run(target, nn.Linear(1, 1), {"model": "m", "data": "d"}, [Epoch(1, 1.0, 0.5, 0.5, 1.0)])
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
    assert target.read_bytes() == b"of an earlier run"


@pytest.mark.parametrize("name", ["resnet18", "nonsense"])
def test_a_name_that_cannot_be_trained_is_one_sentence(name: str, app: typer.Typer) -> None:
    result = CliRunner().invoke(app, ["train", name])
    assert isinstance(result.exception, ValueError)
    assert str(result.exception).startswith(f"{name!r} cannot be trained here; these can: lenet, lenet5, mnist_cnn")


def test_pictures_that_cannot_be_used_are_one_sentence(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pictures go to train/CLASS/ and val/CLASS/"):
        training.load_pictures(folder / "train", SPEC)
    (folder / "train" / "blue" / "0.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"blue/0\.png cannot be read as a picture"):
        training.load_pictures(folder, SPEC)[0].batch(torch.tensor([0]))
    (folder / "val" / "red").rename(folder / "val" / "green")
    with pytest.raises(ValueError, match="differ in the classes green, red"):
        training.load_pictures(folder, SPEC)


def test_only_networks_with_heads_need_pictures() -> None:
    assert [name for name in _COURSES if training.course_for(name).material is Material.PICTURES] == ["googlenet_plain"]
