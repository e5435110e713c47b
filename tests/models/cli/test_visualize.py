"""Looking from the command line."""

from pathlib import Path

import typer
from typer.testing import CliRunner

from linnaeus.models.cli.visualize import visualize


def run(*arguments: str) -> "tuple[int, str, BaseException | None]":
    app = typer.Typer()
    app.command("visualize")(visualize)
    app.command("other")(lambda: None)
    done = CliRunner().invoke(app, ["visualize", *arguments])
    return done.exit_code, done.output, done.exception


def test_the_command_writes_what_it_says(pictures: Path, tmp_path: Path) -> None:
    seven = str(pictures / "digits" / "7.png")
    code, output, _ = run("lenet", seven, "--out", str(tmp_path / "new"), "--html", "--class", "9")
    assert code == 0
    named = [Path(line) for line in output.splitlines()[:3]]
    assert [path.name for path in named if path.is_file()] == ["contact_sheet.png", "heat_map.png", "index.html"]
    assert output.splitlines()[3] == f"{tmp_path / 'new' / 'stages'}: 6 stages"
    assert "Grad-CAM for 9," in named[2].read_text()


def test_the_command_says_untrained_where_weights_are_random(pictures: Path, tmp_path: Path) -> None:
    seven = str(pictures / "digits" / "7.png")
    assert run("lenet", seven, "--out", str(tmp_path), "--weights", "random", "--seed", "4", "--html")[0] == 0
    assert "Untrained (random, seed 4)" in (tmp_path / "index.html").read_text()


def test_the_command_refuses_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no picture")
    for name in ("text.png", "missing.png"):
        code, _, error = run("lenet", str(tmp_path / name), "--out", str(tmp_path / "out"))
        assert code == 1 and isinstance(error, OSError)
    assert not (tmp_path / "out").exists()
