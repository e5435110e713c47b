"""Each design space keeps its narrowing, and what is measured of it is repeatable, recorded and drawn."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.cli import design_space as command
from linnaeus.models.design_space.evaluation import (
    SampledNetwork,
    TrainingRegime,
    error_distribution,
    train_and_evaluate,
)
from linnaeus.models.design_space.sampling import (
    BOTTLENECK_RATIOS,
    GROUP_WIDTHS,
    MAX_DEPTH,
    MAX_WIDTH,
    STAGES,
    Space,
    sample_stages,
)
from linnaeus.models.inspection.cost import Cost
from linnaeus.models.training import Digits

SEEDS = st.integers(0, 10**9)
SMALL = (Stage(1, 8),)


def sample_many(space: Space) -> list[tuple[Stage, ...]]:
    random = Random(0)
    return [sample_stages(space, random) for _ in range(400)]


def rises(values: list[int]) -> bool:
    return values == sorted(values)


@pytest.mark.parametrize("space", Space)
@settings(deadline=None)  # a busy machine is no fault
@given(seed=SEEDS)
def test_every_network_of_a_space_keeps_its_narrowing_and_its_limits(space: Space, seed: int) -> None:
    stages = sample_stages(space, Random(seed))
    assert len(stages) == STAGES
    for stage in stages:
        assert 1 <= stage.depth <= MAX_DEPTH
        assert 8 <= stage.width <= MAX_WIDTH and stage.width % 8 == 0
        assert stage.bottleneck_ratio in BOTTLENECK_RATIOS and stage.group_width in GROUP_WIDTHS
    narrowings = {
        "B": len({stage.bottleneck_ratio for stage in stages}) == 1,
        "C": len({stage.group_width for stage in stages}) == 1,
        "D": rises([stage.width for stage in stages]),
        "E": rises([stage.depth for stage in stages]),
    }
    asked = "BCD" if space is Space.REGNET else "ABCDE"[1 : "ABCDE".index(space) + 1]
    assert all(narrowings[letter] for letter in asked)
    if space is Space.REGNET:
        assert {stage.bottleneck_ratio for stage in stages} == {1}


@pytest.mark.parametrize(
    ("space", "free"),
    [
        (Space.A, lambda stages: len({stage.bottleneck_ratio for stage in stages}) > 1),
        (Space.B, lambda stages: len({stage.group_width for stage in stages}) > 1),
        (Space.C, lambda stages: not rises([stage.width for stage in stages])),
        (Space.D, lambda stages: not rises([stage.depth for stage in stages])),
    ],
)
def test_what_a_space_leaves_free_is_free(space: Space, free: object) -> None:
    assert any(map(free, sample_many(space)))  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize("space", [space for space in Space if space is not Space.REGNET])
def test_every_value_of_a_space_is_drawn(space: Space) -> None:
    stages = [stage for network in sample_many(space) for stage in network]
    assert {stage.depth for stage in stages} == set(range(1, MAX_DEPTH + 1))
    assert {stage.width for stage in stages} == set(range(8, MAX_WIDTH + 1, 8))
    assert {stage.bottleneck_ratio for stage in stages} == set(BOTTLENECK_RATIOS)
    assert {stage.group_width for stage in stages} == set(GROUP_WIDTHS)


@settings(deadline=None)
@given(seed=SEEDS)
def test_one_seed_draws_the_same_networks_again(seed: int) -> None:
    for space in Space:
        assert sample_stages(space, Random(seed)) == sample_stages(space, Random(seed))


def bright_or_dark(images: int) -> Digits:
    """Two classes that a network can tell apart after a few steps."""
    classes = torch.arange(images) % 2
    return Digits((classes * 255).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28), classes)


def noise(images: int) -> Digits:
    """What no network can be right about but by luck."""
    pixels = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Digits(pixels, torch.arange(images) % 10)


def counted(loss: Callable[..., Tensor], batches: list[int]) -> Callable[..., Tensor]:
    def counting(logits: Tensor, classes: Tensor) -> Tensor:
        batches.append(len(classes))
        return loss(logits, classes)

    return counting


def test_a_network_is_trained_and_judged_the_same_way_each_time() -> None:
    training, test = bright_or_dark(64), bright_or_dark(20)
    regime = TrainingRegime(epochs=12, images=64, batch_size=16)
    first = train_and_evaluate(SMALL, training, test, regime)
    torch.rand(1)
    assert train_and_evaluate(SMALL, training, test, regime) == first
    assert first.error == 0.0
    unteachable = Digits(test.pixels, 9 - test.classes)
    assert train_and_evaluate(SMALL, training, unteachable, regime).error == 1.0


def test_training_takes_no_more_images_than_it_is_told_and_no_batch_of_one() -> None:
    test = bright_or_dark(3)
    result = train_and_evaluate(SMALL * 4, bright_or_dark(40), test, TrainingRegime(epochs=1, images=17, batch_size=8))
    assert result.error in (0, 1 / 3, 2 / 3, 1)
    with pytest.raises(ValueError, match="at least 1 epoch, 2 images and batches of 2"):
        TrainingRegime(images=1)


def test_its_seed_decides_a_networks_error_whatever_was_drawn_before() -> None:
    # five hundred pictures of noise: hardly two initialisations are wrong about equally many
    regime = TrainingRegime(epochs=1, images=500, batch_size=250)
    errors = set()
    for before in (1, 2, 3, 4):
        torch.manual_seed(before)
        errors.add(train_and_evaluate(SMALL, noise(500), noise(500), regime).error)
    assert len(errors) == 1
    assert {
        train_and_evaluate(SMALL, noise(500), noise(500), replace(regime, seed=seed)).error for seed in (1, 2)
    } != errors


@pytest.mark.parametrize("images", [7, 11])
def test_a_network_is_taught_and_judged_by_as_many_images_as_its_brief_says(
    images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = train_and_evaluate(
        SMALL, bright_or_dark(60), noise(60), TrainingRegime(epochs=1, images=images, batch_size=2)
    )
    assert result.error * images == pytest.approx(round(result.error * images))
    taught = []
    monkeypatch.setattr(functional, "cross_entropy", counted(functional.cross_entropy, taught))
    train_and_evaluate(SMALL, bright_or_dark(60), noise(60), TrainingRegime(epochs=3, images=images, batch_size=2))
    assert sum(taught) == 3 * images


def test_the_distribution_steps_up_by_one_share_at_each_error() -> None:
    samples = [SampledNetwork(SMALL, Cost(1, 1, 1), error) for error in (0.5, 0.1, 0.5, 0.2)]
    assert error_distribution(samples) == [(0.1, 0.25), (0.2, 0.5), (0.5, 0.75), (0.5, 1.0)]


def test_the_command_writes_every_sample_and_one_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "load_mnist", lambda root, train: bright_or_dark(40 if train else 10))
    app = typer.Typer()
    app.command()(command.design_space)
    arguments = ["--space", "e", "--space", "regnet", "--samples", "2", "--epochs", "1", "--images", "20"]
    result = CliRunner().invoke(app, [*arguments, "--seed", "3", "--out", str(tmp_path)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "samples.json").read_text())
    assert written["brief"]["seed"] == 3 and list(written["spaces"]) == ["E", "regnet"]
    random = Random(3)
    for entry in written["spaces"]["E"]:
        assert tuple(Stage(**stage) for stage in entry["stages"]) == sample_stages(Space.E, random)
        assert 0 <= entry["error"] <= 1 and entry["cost"]["parameters"] > 0
    assert result.output.count("error ") == 4
    with Image.open(tmp_path / "errors.png") as picture:
        assert picture.format == "PNG" and picture.width > 800
