"""Threads of a server process that fail or hang: it goes on, or it ends in time and says why."""

import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from tests.e2e.forked_server import ForkedServer
from tests.e2e.synthetic_models import image_with_work, request, write_model

from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

# Far longer than a server may take to stop.
HANG_SECONDS = 600.0
STOP_SECONDS = 60.0
AT_ONCE = ("--drain-seconds", "0.2", "--lame-duck-seconds", "0")
LEFT_BEHIND = "the process ends beside threads that still run: "

# A server whose loads hang, as on a network volume that has gone; it sends itself SIGTERM meanwhile.
HANGING_LOAD = """
import os, signal, sys, threading
from linnaeus.server import cli
from linnaeus.server.model_store import loader

def hang(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait()

loader.load_model = hang
cli.main()
"""

# A server whose decoders cannot take any image.
FAILING_DECODERS = """
from linnaeus.server import cli
from linnaeus.server.scheduling import BatchQueue

def fail(queue):
    raise ZeroDivisionError

BatchQueue.next_to_decode = fail
cli.main()
"""


def run_server(code: str, repository: Path) -> "subprocess.CompletedProcess[str]":
    """Runs a changed server until it ends by itself."""
    options = ("--repository", str(repository), "--models", "lenet", "--port", "0", "--metrics-port", "0", *AT_ONCE)
    command = [sys.executable, "-c", code, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=STOP_SECONDS)


def test_a_server_whose_decoders_keep_failing_ends_with_a_reason(repository: Path) -> None:
    ended = run_server(FAILING_DECODERS, repository)
    assert ended.returncode == 1
    reason = "linnaeus-server: it stopped because its part decoder kept failing; its log has the causes"
    assert reason in ended.stderr.splitlines() and "decoder failed [" in ended.stderr


def test_a_batch_that_hangs_does_not_outlive_the_time_to_drain(tmp_path: Path) -> None:
    write_model(tmp_path, "slow", work_unit_seconds=HANG_SECONDS / 200, config="instances = 2\n")
    options = ("--repository", str(tmp_path), "--max-batch-size", "1", "--streams", "2", *AT_ONCE)
    with ForkedServer(*options) as server, grpc.insecure_channel(server.target) as channel:
        stub = ClassifierServiceStub(channel)
        hanging = stub.Classify.future(request("slow", image_with_work(200)), timeout=HANG_SECONDS)
        stub.Classify(request("slow"), timeout=STOP_SECONDS)  # sent after it, so it has arrived
        assert server.stop(STOP_SECONDS) == 0
        assert isinstance(hanging.exception(timeout=STOP_SECONDS), grpc.RpcError)
    sentences = [entry["message"] for entry in server.logs if LEFT_BEHIND in entry["message"]]
    assert len(sentences) == 1 and "linnaeus-cpu" in sentences[0]


@pytest.mark.slow
def test_a_load_that_hangs_does_not_outlive_the_time_to_drain(repository: Path) -> None:
    ended = run_server(HANGING_LOAD, repository)
    assert ended.returncode == 0 and "Traceback" not in ended.stderr
    assert LEFT_BEHIND + "linnaeus-load" in ended.stderr
