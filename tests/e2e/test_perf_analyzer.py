"""NVIDIA's perf_analyzer runs to its end, and the server's figures that it prints add up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]


def numbers(name: str, text: str) -> list[int]:
    return [int(found) for found in re.findall(rf"{name}: (\d+)", text)]


@pytest.mark.needs(program="perf_analyzer")
def test_it_runs_to_the_end_and_the_servers_figures_add_up(server: ServerProcess) -> None:
    flags = ["--concurrency-range", "1:64:63", "--measurement-interval", "500", "--max-trials", "3"]
    command = [sys.executable, str(ROOT / "scripts" / "perf_analyzer.py"), "--target", server.target, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Concurrency: (\d+), throughput", done.stdout) == ["1", "64"]

    answered, inferred, runs = (
        numbers(name, done.stdout) for name in ("Successful request count", "Inference count", "Execution count")
    )
    assert answered == inferred and len(answered) == 2
    assert all(0 < run <= count for run, count in zip(runs, inferred, strict=True))
    assert runs[0] == inferred[0] and runs[1] < inferred[1]  # one caller alone, and many who share batches
    lines = re.findall(r"Avg request latency: (\d+) usec \((.*)\)", done.stdout)
    assert len(lines) == 2
    for whole, parts in lines:
        times = dict(re.findall(r"(\w[\w ]*?) (\d+) usec", parts))
        assert set(times) == {"overhead", "queue", "compute input", "compute infer", "compute output"}
        assert sum(map(int, times.values())) == pytest.approx(int(whole), abs=5)  # each is rounded down
        assert int(times["compute infer"]) > 0 and int(times["compute input"]) > 0
