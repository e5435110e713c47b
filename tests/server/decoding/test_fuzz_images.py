"""Tests of the fuzzer of images, and a hundred of its mutants; `make fuzz-images` decodes 100,000."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.fuzz import images
from tests.fuzz.images import Summary, fuzz
from tests.fuzz.mutator import mutant
from tests.fuzz.seeds import seeds


def test_a_hundred_mutants_neither_crash_nor_hang_nor_cost_much_nor_leave_memory() -> None:
    summary = fuzz(seed=7, count=100)
    assert summary.outcomes.total() == 100, summary.text()
    assert not summary.failures, summary.text()
    assert summary.outcomes["decoded"] > 10 and summary.outcomes["refused"] > 10
    assert summary.growth_megabytes < 100


def test_a_mutant_is_told_by_its_seed_and_number() -> None:
    files = seeds()
    first = [mutant(files, 3, number) for number in range(50)]
    assert first == [mutant(seeds(), 3, number) for number in range(50)]
    assert len(set(first)) > 45 and first != [mutant(files, 4, number) for number in range(50)]


def child_that(action: str) -> str:
    return (
        "import json, os, sys, time\n"
        "for number in range(int(sys.argv[2]), int(sys.argv[3])):\n"
        "    print(json.dumps({'begins': number}), flush=True)\n"
        f"    if number == 2: {action}\n"
        "    line = {'ends': number, 'outcome': 'decoded', 'seconds': 0.1, 'allowed': 1, 'bytes': 9, 'megabytes': 1}\n"
        "    print(json.dumps(line), flush=True)\n"
    )


@pytest.mark.parametrize(
    ("action", "failure"),
    [
        ("os.kill(os.getpid(), 11)", "crash: exit status -11"),
        pytest.param("time.sleep(3600)", "hang", marks=pytest.mark.slow),
    ],
)
def test_a_crash_or_a_hang_is_told_and_the_rest_goes_on(
    action: str, failure: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "child.py"
    program.write_text(child_that(action))
    start = subprocess.Popen

    def popen(command: list[str], **options: object) -> "subprocess.Popen[str]":
        return start([sys.executable, str(program), *command[3:]], **options)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(images.subprocess, "Popen", popen)
    summary = fuzz(seed=1, count=5, hang_seconds=5.0)
    assert summary.outcomes == {"decoded": 4}
    assert list(summary.failures) == [2] and summary.failures[2].startswith(failure)


@pytest.mark.parametrize(
    ("outcome", "seconds", "failure"),
    [("decoded", 0.5, None), ("refused", 1.5, "slow"), ("MemoryError: ", 0.1, "MemoryError")],
)
def test_an_error_or_too_much_processor_time_is_a_failure(outcome: str, seconds: float, failure: str | None) -> None:
    summary = Summary()
    summary.add({"ends": 4, "outcome": outcome, "seconds": seconds, "allowed": 1.0, "bytes": 9, "megabytes": 1})
    assert (failure is None and not summary.failures) or summary.failures[4].startswith(str(failure))
