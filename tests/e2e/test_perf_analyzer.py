"""NVIDIA's perf_analyzer completes, and the server statistics that it prints add up."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.server.rpc.child_server import ServerProcess

ROOT = Path(__file__).resolve().parents[2]


def numbers(name: str, text: str) -> list[int]:
    return [int(found) for found in re.findall(rf"{name}: (\d+)", text)]


@pytest.mark.needs(program="perf_analyzer")
def test_perf_analyzer_completes_over_grpc_and_the_servers_figures_add_up(server: ServerProcess) -> None:
    analyze("--target", server.target)


@pytest.mark.needs(program="perf_analyzer")
def test_perf_analyzer_completes_over_http_and_the_servers_figures_add_up(repository: Path) -> None:
    with ForkedServer("--repository", str(repository), "--models", "lenet", "--http-port", "0") as server:
        analyze("-i", "http", "--target", f"127.0.0.1:{server.http_port}")


def analyze(*where: str) -> None:
    flags = ["--concurrency-range", "1:64:63", "--measurement-interval", "500", "--max-trials", "3"]
    command = [sys.executable, str(ROOT / "scripts" / "perf_analyzer.py"), *where, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"Concurrency: (\d+), throughput", done.stdout) == ["1", "64"]

    answered, inferred, runs = (
        numbers(name, done.stdout) for name in ("Successful request count", "Inference count", "Execution count")
    )
    assert answered == inferred and len(answered) == 2
    assert all(0 < run <= count for run, count in zip(runs, inferred, strict=True))
    assert runs[0] == inferred[0] and runs[1] < inferred[1]  # with one caller no batches are shared, with 64 they are
    lines = re.findall(r"Avg request latency: (\d+) usec \((.*)\)", done.stdout)
    assert len(lines) == 2
    for whole, parts in lines:
        times = dict(re.findall(r"(\w[\w ]*?) (\d+) usec", parts))
        assert set(times) == {"overhead", "queue", "compute input", "compute infer", "compute output"}
        assert sum(map(int, times.values())) == pytest.approx(int(whole), abs=5)  # each is rounded down
        assert int(times["compute infer"]) > 0 and int(times["compute input"]) > 0
