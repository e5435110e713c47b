"""The load tester against a real server: both count the same calls, and Ctrl-C ends a run cleanly."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.client.load.results import Run
from linnaeus.server.rpc.child_server import ServerProcess

# Made before the load, and not part of the result.
FIRST_CALL = 1


@pytest.fixture
def load(server: ServerProcess, pictures: Path) -> Callable[..., subprocess.Popen[str]]:
    """Returns a function that starts `linnaeus-client load` on the digits."""

    def start(*options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from linnaeus.client.cli import main; main()", "--server", server.target]
        fixed = ["load", str(pictures / "digits"), "--model", "lenet", "--metrics", server.metrics_url]
        return subprocess.Popen(
            [*command, *fixed, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8"
        )

    return start


def answered(metric: Callable[..., float]) -> float:
    return metric("grpc_server_handled_total", grpc_method="Classify", grpc_code="OK")


def test_the_tester_and_the_server_count_the_same_calls(
    load: Callable[..., subprocess.Popen[str]], metric: Callable[..., float], tmp_path: Path
) -> None:
    before = answered(metric)
    test = load("--concurrency", "4", "--duration", "1s", "--warmup", "0", "--json", str(tmp_path / "run.json"))
    shown, errors = test.communicate(timeout=100)
    assert test.returncode == 0, errors
    run = Run.from_dict(json.loads((tmp_path / "run.json").read_text()))
    measurement = run.measurements[0]
    assert measurement.counts.ok == measurement.counts.sent > 0
    assert answered(metric) - before == measurement.counts.sent + FIRST_CALL
    assert "goodput" in shown


@pytest.mark.parametrize("rpc", ["stream", pytest.param("batch", marks=pytest.mark.slow)])
def test_batches_and_streams_are_counted_image_by_image_on_both_sides(
    load: Callable[..., subprocess.Popen[str]], metric: Callable[..., float], tmp_path: Path, rpc: str
) -> None:
    def counts() -> tuple[float, float]:
        return metric("linnaeus_request_seconds_count", model="lenet"), metric("linnaeus_rejected_total", model="lenet")

    before = counts()
    spoilt = ("--corrupt-rate", "0.1")
    test = load(
        "--rpc",
        rpc,
        "--concurrency",
        "4",
        "--duration",
        "1s",
        "--warmup",
        "0",
        "--json",
        str(tmp_path / "run"),
        *spoilt,
    )
    _, errors = test.communicate(timeout=100)
    assert test.returncode == 0, errors
    sent = Run.from_dict(json.loads((tmp_path / "run").read_text())).measurements[0].counts
    answered, refused = (now - then for now, then in zip(counts(), before, strict=True))
    assert sent.failed == 0 and sent.ok > 0
    assert answered == sent.ok + FIRST_CALL and answered + refused == sent.sent + FIRST_CALL


def test_the_servers_metrics_are_in_the_result_and_on_the_page(
    load: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    outputs = ("--json", str(tmp_path / "run.json"), "--report", str(tmp_path / "page.html"))
    test = load("--rate", "50", "--duration", "1s", *outputs)
    _, errors = test.communicate(timeout=100)
    assert test.returncode == 0, errors
    server = Run.from_dict(json.loads((tmp_path / "run.json").read_text())).measurements[0].server
    assert server is not None
    assert {"decode", "queue", "inference"} <= set(server.stage_seconds)
    assert all(seconds > 0 for seconds in server.stage_seconds.values())
    assert server.mean_batch_size is not None and server.mean_batch_size >= 1
    assert sum(server.batch_sizes.values()) > 0
    assert "Batch sizes" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_a_rate_that_a_small_queue_refuses_is_above_the_knee(
    repository: Path, load: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    shutil.copytree(repository / "lenet", tmp_path / "models" / "lenet")
    with ForkedServer("--repository", str(tmp_path / "models"), "--max-queue-size", "1") as small:
        # Five a second, evenly: each is answered before the next. Three thousand come upon each other on any machine.
        ramp = ("--ramp", "5:3000:2", "--arrivals", "constant", "--duration", "1s", "--warmup", "0")
        test = load(*ramp, "--server", small.target, "--metrics", "", "--json", str(tmp_path / "run.json"))
        shown, errors = test.communicate(timeout=100)
    run = Run.from_dict(json.loads((tmp_path / "run.json").read_text()))
    assert test.returncode == 0, errors
    assert (run.knee, run.knee_below) == (5.0, 3000.0)
    assert run.measurements[1].counts.refused == sum(each.calls for each in run.measurements[1].failures)
    assert run.measurements[1].failures[0].code == "RESOURCE_EXHAUSTED"
    assert "at 3,000 calls/s" in shown and "calls were refused. It lies between them" in shown


def test_ctrl_c_ends_a_run_with_a_partial_report(
    load: Callable[..., subprocess.Popen[str]], metric: Callable[..., float], tmp_path: Path
) -> None:
    before = answered(metric)
    test = load("--concurrency", "2", "--duration", "1h", "--warmup", "0", "--json", str(tmp_path / "run.json"))
    while answered(metric) < before + 20:  # bounded by the test's timeout
        assert test.poll() is None
    test.send_signal(signal.SIGINT)
    _, errors = test.communicate(timeout=100)
    assert test.returncode == 130, errors
    assert "Traceback" not in errors
    plain: dict[str, Any] = json.loads((tmp_path / "run.json").read_text())
    measurement = Run.from_dict(plain).measurements[0]
    assert measurement.interrupted
    assert measurement.counts.sent >= 20 and measurement.counts.failed == 0
    assert answered(metric) - before == measurement.counts.sent + FIRST_CALL
