"""`linnaeus-zoo` as people type it."""

import json
import subprocess
import sys
from pathlib import Path


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "from linnaeus.models.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=100)


def test_list_shows_what_there_is() -> None:
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)}
    assert rows["lenet"]["parameters"] == 431_080
    assert rows["efficientnet_lite0"]["input"] == "3x224x224"
    assert rows["resnet18"]["weights"] == ["DEFAULT", "random", "FILE"]


def test_the_list_fits_a_terminal_of_80_columns() -> None:
    lines = run("list").stdout.splitlines()
    assert len(lines) > 40 and max(map(len, lines)) <= 80
    assert all("…" not in line for line in lines)
    assert any("inception_densenet121" in line and "4,760,296" in line for line in lines)


def test_export_makes_a_regnet_of_the_parameters_it_is_given(tmp_path: Path) -> None:
    shape = ["--depth", "4", "--w0", "16", "--wa", "8", "--wm", "2", "--group-width", "8", "--se-ratio", "0.25"]
    done = run("export", "regnet", *shape, "--weights", "random", "--repository", str(tmp_path))
    assert done.stdout == f"{tmp_path / 'regnet' / '1'}\n", done.stderr
    manifest = json.loads((tmp_path / "regnet" / "1" / "manifest.json").read_text())
    assert manifest["parameters"] < 200_000 and manifest["weights"] == {"source": "random", "seed": 0}
    refused = run("export", "lenet", "--depth", "4", "--repository", str(tmp_path))
    assert refused.returncode == 1 and "shape the model regnet" in refused.stderr


def test_export_prints_the_folder_it_wrote_and_the_next_is_the_next_version(tmp_path: Path) -> None:
    done = run("export", "lenet", "--repository", str(tmp_path))
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'lenet' / '1'}\n", "")
    assert run("export", "lenet", "--repository", str(tmp_path)).stdout.endswith("lenet/2\n")


def test_what_fails_is_one_line_and_exit_code_1(tmp_path: Path) -> None:
    for arguments, words in (
        (["export", "nothing"], "there is no model 'nothing' in the zoo; there are: lenet"),
        (["train", "efficientnet_lite0"], "cannot be trained here"),
    ):
        done = run(*arguments)
        assert done.returncode == 1
        assert words in done.stderr and done.stderr.count("\n") == 1
