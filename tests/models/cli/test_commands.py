"""`linnaeus-zoo` as people type it: once in a process of its own, else in this one."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "from linnaeus.models.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=100)


def test_list_shows_what_there_is(listed: dict[str, dict[str, Any]]) -> None:
    assert listed["lenet"]["parameters"] == 431_080
    assert listed["efficientnet_lite0"]["input"] == "3x224x224"
    assert listed["resnet18"]["weights"] == ["DEFAULT", "random", "FILE"]


def test_the_list_fits_a_terminal_of_80_columns(table: str) -> None:
    lines = table.splitlines()
    assert len(lines) > 40 and max(map(len, lines)) <= 80
    assert all("…" not in line for line in lines)
    assert any("inception_densenet121" in line and "4,760,296" in line for line in lines)


def test_export_makes_a_regnet_of_the_parameters_it_is_given(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    shape = ["--depth", "4", "--w0", "16", "--wa", "8", "--wm", "2", "--group-width", "8", "--se-ratio", "0.25"]
    done = run_zoo("export", "regnet", *shape, "--weights", "random", "--repository", str(tmp_path))
    assert done.output == f"{tmp_path / 'regnet' / '1'}\n", done.errors
    manifest = json.loads((tmp_path / "regnet" / "1" / "manifest.json").read_text())
    assert manifest["parameters"] < 200_000 and manifest["weights"] == {"source": "random", "seed": 0}
    refused = run_zoo("export", "lenet", "--depth", "4", "--repository", str(tmp_path))
    assert refused.exit_code == 1 and "shape the model regnet" in refused.errors


def test_export_prints_the_folder_it_wrote_and_the_next_is_the_next_version(
    tmp_path: Path, run_zoo: Callable[..., Any]
) -> None:
    # alone, since what torch says on the error stream is silenced in this process
    done = run_alone("export", "lenet", "--repository", str(tmp_path))
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'lenet' / '1'}\n", "")
    assert run_zoo("export", "lenet", "--repository", str(tmp_path)).output.endswith("lenet/2\n")


def test_what_fails_is_one_line_and_exit_code_1(run_zoo: Callable[..., Any]) -> None:
    alone = run_alone("export", "nothing")
    assert alone.returncode == 1
    assert "there is no model 'nothing' in the zoo; there are: lenet" in alone.stderr
    assert alone.stderr.count("\n") == 1
    done = run_zoo("train", "efficientnet_lite0")
    assert done.exit_code == 1
    assert "cannot be trained here" in done.errors and done.errors.count("\n") == 1
