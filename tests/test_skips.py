"""Skips are counted by reason in one closing line; with `--strict-skips` an avoidable one fails the session."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import pytest
from tests import programs

programs.PROGRAMS["gone"] = programs.Program(lambda: False, "gone is not installed (Debian: apt install gone)")

def test_nothing(): ...

@pytest.mark.needs(program="gone")
def test_a_program(): ...

@pytest.mark.skip(reason="hardware: a quantum computer")
@pytest.mark.parametrize("number", [1, 2])
def test_hardware(number): ...
"""
CLOSING = "skipped: 3 (2 hardware: a quantum computer; 1 gone is not installed (Debian: apt install gone))"


def run(folder: Path, *flags: str, tests: str = TESTS) -> "subprocess.CompletedProcess[str]":
    (folder / "test_it.py").write_text(tests, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "tests.skips", "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run([*command, *flags, str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("workers", [[], pytest.param(["-n", "2"], marks=pytest.mark.slow)])
def test_the_last_line_counts_skips_by_reason(tmp_path: Path, workers: list[str]) -> None:
    done = run(tmp_path, *workers)
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == CLOSING


def test_strictly_what_can_be_had_may_not_be_skipped(tmp_path: Path) -> None:
    done = run(tmp_path, "--strict-skips")
    assert done.returncode == 1
    assert "nothing may be skipped for them: ['gone is not installed" in done.stdout


def test_strictly_hardware_may_be_missing(tmp_path: Path) -> None:
    tests = TESTS.replace("lambda: False", "lambda: True")
    assert run(tmp_path, "--strict-skips", tests=tests).returncode == 0
