"""`linnaeus-zoo` as people type it: once in a process of its own, else in this one."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def run_alone(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "from linnaeus.models.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=100)


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
