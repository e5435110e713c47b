"""The metrics and the probes on the HTTP port, of one process and of several."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.e2e.http_calls import free_port, send, start_http
from tests.e2e.several_processes import children, get, until

from linnaeus.server.rpc.child_server import ServerProcess

pytestmark = pytest.mark.slow
PLAIN_TEXT = "text/plain; version=0.0.4; charset=utf-8"
INFER, ADMIN, NOBODY = "the-token-of-a-caller-0001", "the-token-of-an-admin-0001", "a-token-that-nobody-has-01"


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "front ends"])
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[ServerProcess]:
    with start_http(repository, request.param) as process:
        yield process


@pytest.fixture(scope="module", params=[0, 2], ids=["one process", "front ends"])
def one_port(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerProcess]:
    """A server that has its metrics on the HTTP port, and tokens."""
    tokens = tmp_path_factory.mktemp("tokens") / "tokens"
    tokens.write_text(f"caller infer {INFER}\nadmin admin {ADMIN}\n")
    secured = ("--token-file", str(tokens), "--insecure")
    with free_port() as port, start_http(repository, request.param, *secured, port=port, metrics_port=port) as process:
        yield process


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def families(text: str) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))


def test_the_http_port_shows_the_metrics_of_the_whole_server(server: ServerProcess) -> None:
    answer = send(server.http_port, "/console/metrics")
    assert (answer.status, answer.headers["content-type"]) == (200, PLAIN_TEXT)
    of_metrics_port = families(get(server, "/metrics")[1])
    assert of_metrics_port >= {"linnaeus_batch_size", "linnaeus_http_request_seconds", "linnaeus_in_flight"}
    assert families(answer.body.decode()) == of_metrics_port


def test_many_scrapes_at_once_are_all_answered(server: ServerProcess) -> None:
    with ThreadPoolExecutor(30) as pool:
        answers = list(pool.map(lambda _: send(server.http_port, "/console/metrics"), range(60)))
    assert {answer.status for answer in answers} == {200}
    assert all(b"linnaeus_batch_size" in answer.body for answer in answers)


def test_the_probes_say_the_same_on_both_ports_and_the_metrics_path_is_on_its_own(server: ServerProcess) -> None:
    for path in ("/livez", "/readyz"):
        answer = send(server.http_port, path)
        assert (answer.status, answer.body.decode()) == get(server, path) == (200, "ok\n")
    assert send(server.http_port, "/metrics").status == 404


def test_on_one_port_metrics_and_probes_need_no_token_and_all_else_does(one_port: ServerProcess) -> None:
    assert one_port.http_port == one_port.metrics_port
    for path in ("/metrics", "/livez", "/readyz"):
        assert send(one_port.http_port, path).status == 200
    assert "linnaeus_batch_size" in get(one_port, "/metrics")[1]
    assert send(one_port.http_port, "/console/metrics").status == 401
    assert send(one_port.http_port, "/console/metrics", authorization=f"Bearer {NOBODY}").status == 401
    for token in (INFER, ADMIN):
        assert send(one_port.http_port, "/console/metrics", authorization=f"Bearer {token}").status == 200


@pytest.mark.parametrize("server", [2], indirect=True, ids=["front ends"])
def test_while_the_supervisor_stands_still_metrics_are_refused_and_come_again_later(server: ServerProcess) -> None:
    with stopped(server.child.pid):
        with ThreadPoolExecutor(8) as pool:
            refused = list(pool.map(lambda _: send(server.http_port, "/console/metrics"), range(8)))
        assert {answer.status for answer in refused} == {503}
        assert "does not respond" in refused[0].json["detail"] and refused[0].headers["retry-after"]
        assert send(server.http_port, "/readyz").status == 200, "callers are answered all the same"
    until(lambda: send(server.http_port, "/console/metrics").status == 200)


@pytest.mark.parametrize("server", [2], indirect=True, ids=["front ends"])
def test_an_engine_that_stands_still_is_not_ready_on_either_port(server: ServerProcess) -> None:
    silent = (503, "the engine does not respond\n")
    with stopped(children(server, "engine")[0]):
        until(lambda: get(server, "/readyz") == silent)
        until(lambda: (answer := send(server.http_port, "/readyz")).status == 503 and answer.body == silent[1].encode())
        assert send(server.http_port, "/livez").status == 200
        assert b"linnaeus_batch_size" in send(server.http_port, "/console/metrics").body
    until(lambda: send(server.http_port, "/readyz").status == 200 and get(server, "/readyz")[0] == 200)
