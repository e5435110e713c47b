"""`linnaeus-zoo` in a process of its own: its output streams and exit code."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def run_in_process(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = [sys.executable, "-c", "from linnaeus.models.cli import main; main()", *arguments]
    return subprocess.run(program, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_export_prints_the_folder_and_increments_the_version(tmp_path: Path, run_zoo: Callable[..., Any]) -> None:
    # in its own process, because torch's warnings are silenced in this one
    done = run_in_process("export", "lenet", "--repository", str(tmp_path))
    assert (done.stdout, done.stderr) == (f"{tmp_path / 'lenet' / '1'}\n", "")
    assert run_zoo("export", "lenet", "--repository", str(tmp_path)).output.endswith("lenet/2\n")


def test_an_error_is_one_line_and_exit_code_1(run_zoo: Callable[..., Any]) -> None:
    failed = run_in_process("export", "nothing")
    assert failed.returncode == 1
    assert "there is no model 'nothing' in the zoo; there are: lenet" in failed.stderr
    assert failed.stderr.count("\n") == 1
    done = run_zoo("train", "efficientnet_lite0")
    assert done.exit_code == 1
    assert "cannot be trained here" in done.errors and done.errors.count("\n") == 1
