"""The stop, reloads and lost processes, as callers by HTTP meet them, of one process and of several."""

import http.client
import os
import shutil
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.e2e.http_calls import CLASSIFY, HttpCallers, raw_image, send, send_on, start_http
from tests.e2e.several_processes import FRONT_ENDS, children, get, metric, until
from tests.e2e.synthetic_models import write_model
from tests.repositories import add_version

pytestmark = pytest.mark.slow
BOTH = pytest.mark.parametrize("front_ends", FRONT_ENDS)


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "4.png").read_bytes()


@pytest.fixture
def own_repository(repository: Path, tmp_path: Path) -> Path:
    """A repository with `lenet` that the test may change."""
    shutil.copytree(repository / "lenet", tmp_path / "lenet")
    return tmp_path


def has_ended(connection: socket.socket) -> bool:
    """Whether the server ends a connection; waits for it."""
    connection.settimeout(60)
    return connection.recv(1) == b""


@BOTH
@pytest.mark.parametrize("lame_duck", ["0", "0.5"])
def test_every_request_sent_to_a_server_that_stops_is_answered(
    repository: Path, digit: bytes, front_ends: int, lame_duck: str
) -> None:
    with start_http(repository, front_ends, "--lame-duck-seconds", lame_duck) as server:
        callers = HttpCallers(server.http_port, digit)
        callers.wait_for_more()
        assert not any(ends for answers in callers.answers for _, ends in answers), "connections are kept until then"
        assert server.stop() == 0
        callers.wait_ended()
    assert callers.lost == [] and callers.statuses == {200}
    assert all(answers[-1] == (200, True) for answers in callers.answers), "each is told to connect elsewhere"


@BOTH
def test_connections_that_idle_end_with_the_server_and_do_not_delay_it(repository: Path, front_ends: int) -> None:
    with start_http(repository, front_ends) as server:
        idle = [http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60) for _ in range(20)]
        for each in idle:
            assert send_on(each, "/v1/models").status == 200
        fresh = [socket.create_connection(("127.0.0.1", server.http_port)) for _ in range(5)]
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 20, "less than the time that calls may take"
        assert all(has_ended(each.sock) for each in idle) and all(has_ended(each) for each in fresh)
        for each in fresh:
            each.close()
        for other in idle:
            other.close()


@BOTH
def test_at_the_end_of_the_drain_time_what_is_not_answered_is_refused(tmp_path: Path, front_ends: int) -> None:
    write_model(tmp_path, "slow", 0.1, work_unit_seconds=0.1, config="max_batch_size = 1\n")
    half = b"POST /v1/models/slow:classify HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nhalf"
    options = ("--models", "slow", "--drain-seconds", "1", "--lame-duck-seconds", "0")
    with start_http(tmp_path, front_ends, *options) as server, ThreadPoolExecutor(2) as pool:
        slow = pool.submit(send, server.http_port, "/v1/models/slow:classify", "POST", raw_image(200))
        with socket.create_connection(("127.0.0.1", server.http_port), timeout=60) as unsent:
            unsent.sendall(half)
            until(lambda: metric(server, "linnaeus_in_flight") == 1)
            assert server.stop() == 0
            said = b"".join(iter(lambda: unsent.recv(4096), b""))
        answer = slow.result(60)
    assert (answer.status, answer.json["detail"]) == (503, "the server is stopping; try another one")
    assert answer.headers["retry-after"] and answer.headers["connection"] == "close"
    assert said.startswith(b"HTTP/1.1 503 ") and b"connection: close" in said and b"the server is stopping" in said


@BOTH
def test_reloads_and_unloads_of_other_versions_fail_no_request(
    own_repository: Path, front_ends: int, digit: bytes
) -> None:
    with start_http(own_repository, front_ends, "--model-control", "start") as server:
        callers = HttpCallers(server.http_port, digit, 4)
        callers.wait_for_more()
        add_version(own_repository / "lenet" / "1", own_repository, "lenet", 2, "two ")
        for path, served in (
            ("/v1/models/lenet:load", 2),
            ("/v1/models/lenet/versions/1:setDefault", 1),
            ("/v1/models/lenet/versions/2:unload", 1),
            ("/v1/models/lenet:load", 1),
            ("/v1/models/lenet/versions/2:setDefault", 2),
            *[("/v1/models/lenet:reload", 2)] * 4,
        ):
            answer = send(server.http_port, path, "POST")
            assert answer.status == 200, answer.body
            assert send(server.http_port, CLASSIFY, "POST", digit).json["version"] == served
            callers.wait_for_more()
        callers.stop()
    assert callers.lost == [] and callers.statuses == {200}


def test_when_a_front_end_is_killed_its_connections_end_and_all_others_go_on(repository: Path, digit: bytes) -> None:
    with start_http(repository, 2) as server:
        callers = HttpCallers(server.http_port, digit, 12)
        callers.wait_for_more()
        killed = children(server, "front_end")[0]
        os.kill(killed, signal.SIGKILL)
        until(lambda: killed not in children(server, "front_end") and len(children(server, "front_end")) == 2)
        callers.wait_for_more()
        callers.stop()
        assert callers.statuses == {200}
        # One request of each connection; and some come back before the kernel has closed the port of the process.
        assert len(callers.lost) <= 24
        assert all(isinstance(error, (ConnectionError, http.client.HTTPException)) for error in callers.lost)
        assert not metric(server, "linnaeus_in_flight")


def test_when_the_engine_is_killed_callers_are_told_when_to_come_again(repository: Path, digit: bytes) -> None:
    with start_http(repository, 2) as server:
        callers = HttpCallers(server.http_port, digit)
        callers.wait_for_more()
        os.kill(children(server, "engine")[0], signal.SIGKILL)
        until(lambda: 503 in callers.statuses)
        refused = send(server.http_port, CLASSIFY, "POST", digit)
        assert refused.status == 200 or (refused.json["code"] == "UNAVAILABLE" and refused.headers["retry-after"])
        until(lambda: send(server.http_port, "/readyz").status == 200 and get(server, "/readyz")[0] == 200)
        callers.wait_for_more()
        callers.stop()
        assert callers.lost == [] and callers.statuses == {200, 503}
        assert {answers[-1][0] for answers in callers.answers} == {200}
