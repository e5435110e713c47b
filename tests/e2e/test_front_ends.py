"""A server of several processes: front ends that share a port, one engine, and a supervisor."""

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from tests.e2e.several_processes import Callers, calls_begun, children, digit, get, is_alive, metric, start, until

from linnaeus.client import Client, Unavailable
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

STOP_SECONDS = 60.0

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(repository: Path) -> Iterator[ServerProcess]:
    """A server whose processes the tests end, but not the supervisor."""
    with start(repository) as process:
        yield process


@pytest.fixture
def server(shared: ServerProcess) -> ServerProcess:
    """The shared server once every process is back."""
    until(lambda: get(shared, "/readyz")[0] == 200 and len(children(shared, "front_end")) == 2)
    return shared


def parent_of(child: int) -> int:
    """Returns the id of the process that started another one: of the fork server for an engine or a front end."""
    return int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])


@contextlib.contextmanager
def without_restarts(child: int) -> Iterator[None]:
    """Lets no process be started meanwhile."""
    fork_server = parent_of(child)
    os.kill(fork_server, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(fork_server, signal.SIGCONT)


def calls_handled(server: ServerProcess) -> float:
    return metric(server, "grpc_server_handled_total", 'grpc_method="Classify"')


def test_every_front_end_gives_the_same_answers_and_one_page_counts_them_all(shared: ServerProcess) -> None:
    assert len(children(shared, "front_end")) == 2 and len(children(shared, "engine")) == 1
    before = calls_handled(shared)
    answers = []
    for _ in range(12):  # each on a connection of its own, which the kernel deals out
        with Client(shared.target) as client:
            answers.append(client.classify(digit(), top_k=3))
    assert len({tuple(each.index for each in answer.classes) for answer in answers}) == 1
    assert calls_handled(shared) - before == 12
    assert metric(shared, "linnaeus_batch_size_sum") >= 12


def test_the_death_of_a_front_end_costs_no_call_of_the_client_and_no_count(server: ServerProcess) -> None:
    callers = Callers(server)
    callers.wait_for_more()
    counted = calls_handled(server)
    (victim, _) = children(server, "front_end")
    os.kill(victim, signal.SIGKILL)
    assert calls_handled(server) >= counted, "what it had counted is kept"
    until(lambda: len(set(children(server, "front_end")) - {victim}) == 2)
    callers.wait_for_more()
    callers.stop()
    assert not callers.failures
    assert metric(server, "linnaeus_process_restarts_total", 'process="front"') == 1
    assert metric(server, "linnaeus_in_flight") == 0, "what it held is given up"


def test_the_death_of_the_engine_ends_every_call_and_it_comes_back_by_itself(server: ServerProcess) -> None:
    stub = ClassifierServiceStub(grpc.insecure_channel(server.target))
    request = v1.ClassifyRequest(model="lenet")
    request.image.pixels.CopyFrom(v1.RawPixels(data=digit().tobytes(), height=28, width=28, channels=1))
    stub.Classify(request, timeout=60)
    (engine,) = children(server, "engine")
    os.kill(engine, signal.SIGSTOP)
    begun = calls_begun(server)
    held = [stub.Classify.future(request, timeout=60) for _ in range(20)]
    until(lambda: calls_begun(server) == begun + 20)
    with without_restarts(engine):
        os.kill(engine, signal.SIGKILL)
        for call in held:
            error = call.exception(timeout=60)
            assert isinstance(error, grpc.RpcError) and error.code() is grpc.StatusCode.UNAVAILABLE
            trailers = dict(error.trailing_metadata())
            assert b"google.rpc.RetryInfo" in trailers["grpc-status-details-bin"]
        # The front ends see the death by their sockets, the supervisor by its own, which may be later.
        until(lambda: get(server, "/readyz") == (503, "the engine is starting\n"))
        assert get(server, "/livez")[0] == 200
    until(lambda: get(server, "/readyz")[0] == 200)
    assert stub.Classify(request, timeout=60, wait_for_ready=True).model == "lenet"
    assert children(server, "engine") != [engine]


def test_a_client_waits_for_an_engine_that_comes_back(server: ServerProcess) -> None:
    with Client(server.target, timeout_seconds=60.0) as client:
        client.classify(digit())
        (engine,) = children(server, "engine")
        with without_restarts(engine):
            os.kill(engine, signal.SIGKILL)
            with pytest.raises(Unavailable, match="the engine"):
                while True:  # until the death is seen in the answer, too
                    client.classify(digit())
        until(lambda: get(server, "/readyz")[0] == 200)
        assert client.classify(digit()).model == "lenet"


def test_processes_are_forked_from_one_thread_that_has_no_grpc(server: ServerProcess) -> None:
    (fork_server,) = {parent_of(pid) for role in ("engine", "front_end") for pid in children(server, role)}
    assert len(list(Path(f"/proc/{fork_server}/task").iterdir())) == 1
    maps = Path(f"/proc/{fork_server}/maps").read_text()
    assert "libtorch" in maps and "cygrpc" not in maps


def test_all_processes_are_in_one_session_as_linux_compares_priorities_within_a_session_alone(
    server: ServerProcess,
) -> None:
    below = [pid for role in ("engine", "front_end") for pid in children(server, role)]
    assert {os.getsid(pid) for pid in below} == {os.getsid(server.child.pid)}


def test_the_loss_of_the_fork_server_ends_no_process_and_another_one_starts_the_next(repository: Path) -> None:
    with start(repository) as server, Client(server.target, timeout_seconds=60.0) as client:
        client.classify(digit())
        (engine,), front_ends = children(server, "engine"), children(server, "front_end")
        fork_server = parent_of(engine)
        os.kill(fork_server, signal.SIGKILL)
        until(lambda: not is_alive(fork_server))
        assert client.classify(digit()).model == "lenet"
        os.kill(engine, signal.SIGKILL)
        until(lambda: bool(children(server, "engine")) and get(server, "/readyz")[0] == 200)
        assert client.classify(digit()).model == "lenet"
        assert all(is_alive(pid) for pid in front_ends)
        assert server.stop() == 0
        until(lambda: not any(is_alive(pid) for pid in front_ends))


def test_a_stop_loses_no_call_in_flight(repository: Path) -> None:
    with start(repository) as server, Client(server.target) as client:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            many = pool.submit(client.classify_batch, [digit(seed) for seed in range(64)])
            until(lambda: metric(server, "linnaeus_batch_size_count") > 0)
            assert server.stop() == 0
            assert len(many.result(60)) == 64
        assert [entry["event"] for entry in server.logs if "event" in entry][-2:] == ["stopping", "stopped"]


def test_a_stop_answers_at_once_what_waits_for_a_fuller_batch(repository: Path) -> None:
    delay = ("--max-queue-delay-seconds", "600")
    pool = concurrent.futures.ThreadPoolExecutor(1)
    with start(repository, *delay) as server, Client(server.target) as client, pool:
        waiting = pool.submit(client.classify, digit())
        until(lambda: metric(server, "linnaeus_in_flight") == 1)
        assert server.stop() == 0
        assert waiting.result(60).model == "lenet"


def test_an_interrupt_at_the_terminal_stops_it_in_order(repository: Path) -> None:
    command = [sys.executable, "-m", "linnaeus.server", "--repository", str(repository), "--models", "lenet"]
    options = ["--front-ends", "1", "--port", "0", "--metrics-port", "0"]
    with subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True, start_new_session=True) as server:
        assert server.stderr is not None
        lines = iter(server.stderr)
        for line in lines:
            if line.rstrip().endswith(": serving"):
                break
        os.killpg(server.pid, signal.SIGINT)  # as a terminal does, to all of the group
        rest = "".join(lines)
        assert server.wait(STOP_SECONDS) == 0
    assert "stopped" in rest and "Traceback" not in rest and "a second signal" not in rest


def test_no_process_outlives_a_supervisor_that_was_killed(repository: Path) -> None:
    server = start(repository)
    server.wait_for("serving")
    family = [*children(server, "front_end"), *children(server, "engine")]
    assert len(family) == 3
    family.append(parent_of(family[0]))
    server.child.kill()
    until(lambda: not any(is_alive(pid) for pid in family))
    server.kill()


def test_a_server_without_a_model_does_not_start_and_says_why(repository: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lenet" / "1"
    folder.mkdir(parents=True)
    for name in ("manifest.json", "labels.txt"):
        (folder / name).write_bytes((repository / "lenet" / "1" / name).read_bytes())
    (folder / "model.pt").write_bytes(b"no model")
    server = start(tmp_path)
    with pytest.raises(RuntimeError, match="no model"):
        server.wait_for("serving")
    assert server.child.wait(STOP_SECONDS) == 1
    server.kill()


def test_an_engine_that_keeps_dying_ends_the_server_with_a_reason(repository: Path) -> None:
    with start(repository) as server:
        killed: set[int] = set()
        while server.child.poll() is None:
            for pid in set(children(server, "engine")) - killed:
                os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        assert server.child.returncode == 1 and len(killed) == 5
        server.kill()
        assert any("the engine died 5 times in a minute" in str(entry["message"]) for entry in server.logs)
