"""Malicious or broken callers over HTTP get one clear error each, and harm no other caller."""

import gzip
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import pytest
from tests.e2e.http_calls import Answer, send, send_on, start_http
from tests.e2e.several_processes import children, descriptors, metric, until
from tests.e2e.test_hostile import NAMES, VERSIONS

from linnaeus.server.rpc.child_server import ServerProcess

pytestmark = pytest.mark.slow

CLASSIFY = "/v1/models/lenet:classify"
LARGEST = 1 << 20
HOST = b"Host: localhost\r\n"
POST = b"POST " + CLASSIFY.encode() + b" HTTP/1.1\r\n" + HOST
FORM = "multipart/form-data; boundary=limit"
PART = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n'
SENDERS = 100
STEPS = 20
IDLE = 1000
MOST_LOG_LINES = 20
Refused: TypeAlias = tuple[dict[str, str], bytes, int, str]

BODIES: dict[str, Refused] = {
    "no picture": ({}, b"no picture", 400, "the 10 bytes are no picture"),
    "nothing": ({}, b"", 400, "the picture is empty"),
    "a gzip bomb": ({"Content-Encoding": "gzip"}, gzip.compress(bytes(100 << 20)), 400, "inflates to more than"),
    "half a gzip stream": ({"Content-Encoding": "gzip"}, gzip.compress(b"abc" * 999)[:-9], 400, "ends early"),
    "no gzip stream": ({"Content-Encoding": "gzip"}, b"abc", 400, "is no valid gzip stream"),
    "an unknown coding": ({"Content-Encoding": "br"}, b"abc", 415, "the body's encoding is 'br'"),
    "codings upon codings": ({"Content-Encoding": "gzip, gzip"}, b"abc", 415, "the body's encoding is 'gzip, gzip'"),
    "a body too large": ({}, bytes(LARGEST + 1), 413, f"the body has more than {LARGEST} bytes"),
    "no boundary": ({"Content-Type": "multipart/form-data"}, b"abc", 400, "no valid boundary"),
    "a cut form": ({"Content-Type": FORM}, PART % (b"a", b"b"), 400, "it ends early"),
    "an empty form": ({"Content-Type": FORM}, b"--limit--", 400, "the form has no file"),
    "thousands of parts": (
        {"Content-Type": FORM},
        PART % (b"a", b"") * 9000 + b"--limit--",
        400,
        "more than 256 parts",
    ),
    "a long field name": (
        {"Content-Type": FORM},
        b'--limit\r\nContent-Disposition: form-data; name="' + b"a" * 900_000 + b'"\r\n\r\n\r\n--limit--',
        400,
        "the headers of part 1 do not end",
    ),
    "no JSON": ({"Content-Type": "application/json"}, b"{", 400, "the body is no valid JSON: Expecting"),
    "deep JSON": ({"Content-Type": "application/json"}, b"[" * 9000, 400, "is nested too deeply"),
    "JSON of many values": (
        {"Content-Type": "application/json"},
        b"[" + b"1," * 300_000 + b"1]",
        400,
        "too many parts",
    ),
    "a key twice": ({"Content-Type": "application/json"}, b'{"top_k":1,"top_k":2}', 400, "has the key 'top_k' twice"),
    "NaN": ({"Content-Type": "application/json"}, b'{"min_probability":NaN}', 400, "NaN is no number in JSON"),
    "a long number": ({"Content-Type": "application/json"}, b"9" * 9000, 400, "too many digits"),
    "wrong base64": (
        {"Content-Type": "application/json"},
        b'{"image":{"encoded":"<script>"}}',
        400,
        "image.encoded is no valid base64",
    ),
    "an unknown field": ({"Content-Type": "application/json"}, b'{"imag":{}}', 400, "there is no field 'imag'"),
    "another's page": ({"Origin": "http://evil.example"}, b"", 403, "pages of 'http://evil.example' may not call"),
    "no origin of a page": ({"Origin": "null"}, b"", 403, "pages of 'null' may not call"),
    "a malformed origin": ({"Origin": "http://[evil"}, b"", 403, "pages of 'http://[evil' may not call"),
    "a rebound name": (
        {"Host": "evil.example", "Origin": "http://evil.example"},
        b"",
        403,
        "was called by the name 'evil.example'",
    ),
    "no seconds": ({"X-Timeout-Seconds": "soon"}, b"", 400, "must be a number of seconds above 0"),
}
RAW = {
    "many headers": (POST + b"X: a\r\n" * 2000 + b"\r\n", 431),
    "a long header": (POST + b"X: " + b"a" * 100_000 + b"\r\n\r\n", 431),
    "a long path": (b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "two lengths": (POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "length and chunks": (POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "a coding that is not undone": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    "two hosts": (POST + HOST + b"Content-Length: 0\r\nConnection: close\r\n\r\n", 400),
    "no host": (b"GET /livez HTTP/1.1\r\nConnection: close\r\n\r\n", 400),
    "a huge length": (POST + b"Content-Length: 9999999999\r\n\r\n", 413),
    "a body that never comes": (POST + b"X-Timeout-Seconds: 0.2\r\nContent-Length: 100\r\n\r\nabc", 408),
}


@pytest.fixture(scope="module", params=[0, 2])
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[ServerProcess]:
    with start_http(repository, request.param, "--max-message-bytes", str(LARGEST)) as process:
        yield process


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "7.png").read_bytes()


@pytest.fixture
def good(server: ServerProcess, digit: bytes) -> Iterator["GoodCaller"]:
    """A caller whose calls are answered all the time, and whose connection stays open."""
    with GoodCaller(server, digit) as caller:
        yield caller
        caller.is_answered()


class GoodCaller:
    """Classifies again and again on one connection, until the end; its calls must all be answered."""

    def __init__(self, server: ServerProcess, digit: bytes) -> None:
        self._connection = HTTPConnection("127.0.0.1", server.http_port, timeout=60)
        self._digit = digit
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._call)
        self.labels: list[Any] = []

    def __enter__(self) -> "GoodCaller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ends.set()
        self._thread.join()
        self._connection.close()
        assert set(self.labels) == {"7"}

    def is_answered(self) -> None:
        """Waits until five further calls were answered."""
        before = len(self.labels)
        until(lambda: len(self.labels) >= before + 5 or not self._thread.is_alive())
        assert self._thread.is_alive()

    def _call(self) -> None:
        while not self._ends.wait(0.001):
            self.labels.append(top_label(send_on(self._connection, CLASSIFY, "POST", self._digit)))


def top_label(answer: Answer) -> Any:
    return answer.json["classes"][0]["label"] if answer.status == 200 else answer.body


def assert_problem(answer: Answer, status: int, sentence: str = "") -> None:
    """Asserts that an answer is one problem document with one plain sentence."""
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json
    assert problem["status"] == status and sentence in problem["detail"], problem["detail"]
    assert len(problem["detail"]) < 400 and "\n" not in problem["detail"]
    for internal in ("Traceback", "/tmp", "Error(", "<class", "python"):
        assert internal not in json.dumps(problem)


@contextmanager
def connected(server: ServerProcess, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        address = ("127.0.0.1", server.http_port)
        yield [stack.enter_context(socket.create_connection(address, timeout=60)) for _ in range(count)]


def answered_raw(server: ServerProcess, sent: bytes) -> bytes:
    """Sends bytes, and returns all until the server closes the connection."""
    with connected(server, 1) as (connection,):
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def open_files(server: ServerProcess) -> int:
    return sum(len(descriptors(pid)) for pid in children(server, "front_end") or [server.child.pid])


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_body_gets_one_problem_and_its_connection_goes_on_or_says_that_it_ends(
    server: ServerProcess, digit: bytes, name: str
) -> None:
    headers, body, status, sentence = BODIES[name]
    with closing(HTTPConnection("127.0.0.1", server.http_port, timeout=60)) as connection:
        written = {key.replace("-", "_"): value for key, value in headers.items()}
        answer = send_on(connection, CLASSIFY, "POST", body, **written)
        assert_problem(answer, status, sentence)
        assert (answer.headers["connection"] == "close") == (status in (413, 415))
        assert top_label(send_on(connection, CLASSIFY, "POST", digit)) == "7"  # http.client connects anew if it must


@pytest.mark.parametrize("name", RAW)
def test_a_wrong_request_gets_one_answer_and_the_end(server: ServerProcess, name: str) -> None:
    sent, status = RAW[name]
    received = answered_raw(server, sent)
    assert received.startswith(b"HTTP/1.1 %d " % status) and received.count(b"\r\ndate: ") == 1
    assert b"application/problem+json" in received and b"connection: close" in received
    answer = Answer(status, {"content-type": "application/problem+json"}, received.partition(b"\r\n\r\n")[2])  # type: ignore[arg-type]
    assert_problem(answer, status)


def test_chunks_are_bounded_as_a_whole(server: ServerProcess, good: GoodCaller) -> None:
    chunk = b"10000\r\n" + bytes(1 << 16) + b"\r\n"
    received = answered_raw(server, POST + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 40)
    assert received.startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("name", NAMES + VERSIONS, ids=lambda name: ascii(name[:20]))
def test_no_path_leaves_the_repository(server: ServerProcess, name: str) -> None:
    quoted = quote(name, safe="")
    for path, method in (
        (f"/v1/models/{quoted}", "GET"),
        (f"/v1/models/{quoted}:classify", "POST"),
        (f"/v1/models/{quoted}:load", "POST"),
        (f"/v1/models/lenet/versions/{quoted}", "GET"),
        (f"/console/{quoted}", "GET"),
        (f"/{quoted}", "GET"),
    ):
        answer = send(server.http_port, path, method, b"" if method == "POST" else None)
        if path.startswith("/v1/models/lenet/versions") and name in ("+1",):
            continue
        assert answer.status in (400, 404, 405, 431), (path, answer.body)
        assert_problem(answer, answer.status)


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "//etc/passwd", "/console/../../settings.py", "/ready", "/healthz"]
)
def test_what_is_nowhere_is_not_found(server: ServerProcess, path: str) -> None:
    assert_problem(send(server.http_port, path), 404)


def test_file_names_are_texts_and_come_back_as_they_were(server: ServerProcess, digit: bytes) -> None:
    names = ["../../etc/passwd", "<script>alert(1)</script>", "a\\b", "na\u00efve \u202e.jpg"]
    body = b"".join(PART % (name.encode(), digit) for name in names) + b"--limit--\r\n"
    answer = send(server.http_port, CLASSIFY, "POST", body, Content_Type=FORM)
    assert [each["image_id"] for each in answer.json["results"]] == names
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    )


def test_slow_senders_cost_no_more_than_connections(server: ServerProcess, good: GoodCaller) -> None:
    before = open_files(server)
    head = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"X-Padding: " + b"a" * STEPS
    body = POST + b"Content-Length: 1000\r\n\r\n"
    chunks = POST + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n"
    starts = [head[:1], body, chunks]
    rests = [head[1:], bytes(STEPS), bytes(STEPS)]
    with connected(server, SENDERS) as senders:
        for number, sender in enumerate(senders):
            sender.sendall(starts[number % 3])
        for step in range(STEPS):
            for number, sender in enumerate(senders):
                send_byte(sender, rests[number % 3][step : step + 1])
            good.is_answered()
    until(lambda: open_files(server) <= before + 5)


def test_idle_connections_harm_nobody_and_leak_nothing(server: ServerProcess, good: GoodCaller) -> None:
    before = open_files(server)
    with connected(server, IDLE) as idle:
        for connection in idle[::2]:
            connection.sendall(b"GET /livez HTTP/1.1\r\n" + HOST)
        good.is_answered()
    until(lambda: open_files(server) <= before + 5)


def test_slow_readers_cost_no_more_than_connections(server: ServerProcess, good: GoodCaller) -> None:
    asked = b"GET /v1/models HTTP/1.1\r\n" + HOST + b"\r\n"
    memory = metric(server, "process_resident_memory_bytes")
    with connected(server, SENDERS) as readers:
        for reader in readers:
            reader.setblocking(False)
            send_all_that_fits(reader, asked * 1000)
        good.is_answered()
        for reader in readers:
            send_all_that_fits(reader, asked * 1000)
        good.is_answered()
    assert metric(server, "process_resident_memory_bytes") - memory < 64 << 20


def test_callers_that_leave_harm_nobody_and_leave_nothing_in_the_queue(
    server: ServerProcess, digit: bytes, good: GoodCaller
) -> None:
    with connected(server, SENDERS) as leavers:
        for leaver in leavers:
            leaver.sendall(POST + b"Content-Length: %d\r\n\r\n" % len(digit) + digit)
    good.is_answered()
    until(lambda: metric(server, "linnaeus_queue_depth") == 0)


def test_the_log_is_not_filled_by_strangers(server: ServerProcess) -> None:
    """Runs last: all of the above has happened by now."""
    lines = [entry for entry in server.logs if entry.get("level") in ("warning", "error")]
    assert len(lines) < MOST_LOG_LINES, lines
    assert not [entry for entry in server.logs if "Traceback" in str(entry)]


@pytest.mark.parametrize("front_ends", [0, 1])
def test_connections_beyond_max_connections_are_closed(repository: Path, digit: bytes, front_ends: int) -> None:
    with start_http(repository, front_ends, "--max-connections", "8") as server:
        with GoodCaller(server, digit) as caller:
            caller.is_answered()
            with connected(server, 30) as connections:
                until(lambda: sum(map(is_closed, connections)) >= 23)
                caller.is_answered()
                assert sum(map(is_closed, connections)) == 23
        until(lambda: send_or_none(server) is not None)


def is_closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def send_or_none(server: ServerProcess) -> Answer | None:
    try:
        return send(server.http_port, "/livez")
    except OSError:
        return None


def send_byte(sender: socket.socket, byte: bytes) -> None:
    """Sends a byte; the server may have closed the connection."""
    with suppress(OSError):
        sender.sendall(byte)


def send_all_that_fits(sender: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the buffers are full, or the server has closed the connection
        while data:
            data = data[sender.send(data) :]
