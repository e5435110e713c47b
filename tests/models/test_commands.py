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
    table = run("list").stdout
    assert "efficientnet_lite0" in table and "4,652,008" in table


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
