"""`linnaeus-zoo design-space` writes every sample and one plot."""

import json
from pathlib import Path
from random import Random

import pytest
import typer
from PIL import Image
from tests.models.design_space.synthetic_digits import bright_or_dark
from typer.testing import CliRunner

from linnaeus.models.architectures.anynet import Stage
from linnaeus.models.cli import design_space as command
from linnaeus.models.design_space.sampling import sample_stages
from linnaeus.models.design_space.spaces import Space
from linnaeus.models.training import datasets


def test_design_space_writes_every_sample_and_one_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_mnist", lambda root, train: bright_or_dark(40 if train else 10))
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
