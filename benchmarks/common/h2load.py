"""Load by nghttp2's h2load: one message, many concurrent calls, by gRPC or by HTTP/1.1.

    call = UnaryCall(target=server.target, path="/linnaeus.v1.ClassifierService/Classify", message=message)
    result = closed_loop(call, concurrency=64, seconds=2.0)

A call costs h2load 15 to 80 µs of processor time, which leaves the cores to the server. It speaks HTTP/2 but not gRPC,
whose failed calls have HTTP status 200 as well. A gRPC server that fails a call without a message sends the status in
the response's first headers ("Trailers-Only"), and h2load prints these with --verbose; that is how failures are found.
docs/decisions/0022-load-generators.md has what h2load cannot do.
"""

import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc

MOST_IN_FLIGHT = 8192
INACTIVITY_SECONDS = 30
INSTALLATION = "h2load is not installed; on Debian and Ubuntu: apt install nghttp2-client"

_FAILED_CALL = re.compile(r"\[stream_id=\d+\] grpc-status: (\d+)$")
_STATUS_NAMES: dict[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


class H2loadMissing(RuntimeError):
    """h2load is not installed; the message says how to install it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryCall:
    """What is called, again and again.

    Attributes:
        target: HOST:PORT.
        path: of the method, /SERVICE/METHOD.
        message: the serialized request.
        deadline_seconds: told to the server with each call; None for no deadline. The client does not enforce it.
    """

    target: str
    path: str
    message: bytes
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """A POST by HTTP/1.1 that is sent again and again.

    Attributes:
        target: HOST:PORT.
        path: of the request.
        body: of the request.
        headers: further headers, each NAME: VALUE.
    """

    target: str
    path: str
    body: bytes
    headers: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class CallTimes:
    """When a call was sent and when its response was complete, in seconds of `time.monotonic`."""

    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class LoadResult:
    """The calls of one run.

    Attributes:
        calls: those that ended, answered or failed, in the order in which they ended.
        failures: calls that failed, by gRPC status name.
    """

    calls: Sequence[CallTimes]
    failures: Counter[str]

    @property
    def answered(self) -> int:
        """Calls that ended with a response message."""
        return len(self.calls) - self.failures.total()


def find_h2load() -> str:
    """Returns the program's path.

    Raises:
        H2loadMissing: if it is not installed.
    """
    program = shutil.which("h2load")
    if program is None:
        raise H2loadMissing(INSTALLATION)
    return program


def has_h2load() -> bool:
    """Returns whether h2load is installed; prints how to install it if it is not."""
    try:
        find_h2load()
    except H2loadMissing as reason:
        print(f"skipped: {reason}")
        return False
    return True


def closed_loop(call: UnaryCall, concurrency: int, seconds: float, connections: int = 1) -> LoadResult:
    """Keeps `concurrency` calls in flight on each connection; those in flight at the end are cancelled, not counted.

    A connection that the server closes half-way ends the run early, without an error.

    Raises:
        H2loadMissing: if h2load is not installed.
        RuntimeError: if h2load fails, or no call ends.
    """
    clients = f"--clients={connections}"
    return _run(call, clients, f"--max-concurrent-streams={concurrency}", f"--duration={round(1000 * seconds)}ms")


def open_loop(call: UnaryCall, rate: float, seconds: float) -> LoadResult:
    """Sends `rate` calls a second whatever becomes of earlier ones, and waits until all have ended.

    Arrivals are evenly spaced, not random. Above 100 a second they come in groups each 10 ms.

    Raises:
        H2loadMissing: if h2load is not installed.
        RuntimeError: if h2load fails, or a call does not end in an HTTP response.
    """
    limits = (
        f"--max-concurrent-streams={MOST_IN_FLIGHT}",
        f"--connection-inactivity-timeout={INACTIVITY_SECONDS}",
    )
    return _run(call, "--clients=1", *limits, f"--rps={rate:.3f}", f"--requests={max(round(rate * seconds), 1)}")


def http_closed_loop(call: HttpCall, connections: int, seconds: float) -> LoadResult:
    """Keeps one request in flight on each connection; those in flight at the end are cancelled, not counted.

    Raises:
        H2loadMissing: if h2load is not installed.
        RuntimeError: if h2load fails, a request is not answered with success, or none ends.
    """
    headers = [f"--header={each}" for each in call.headers]
    options = ["--h1", f"--clients={connections}", f"--duration={round(1000 * seconds)}ms", *headers]
    return _send(f"http://{call.target}{call.path}", call.body, options)


def _run(call: UnaryCall, *options: str) -> LoadResult:
    url = f"http://{call.target}{call.path}"
    return _send(url, _length_prefixed(call.message), ["--verbose", *_headers(call), *options])


def _send(url: str, body: bytes, options: Sequence[str]) -> LoadResult:
    program = find_h2load()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "message").write_bytes(body)
        files = f"--data={folder / 'message'}", f"--log-file={folder / 'log'}"
        monotonic_offset = time.monotonic() - time.time()
        _execute([program, *files, *options, url], folder / "output")
        failures = _failures(folder / "output")
        calls = _call_times(folder / "log", monotonic_offset)
    if not calls:
        raise RuntimeError(f"h2load: no call of {url} ended")
    return LoadResult(calls, failures)


def _execute(command: Sequence[str], output: Path) -> None:
    # A file, not a pipe: reading a pipe would take processor time during the measurement.
    with output.open("wb") as file:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.PIPE)
    if ended.returncode:
        last_words = ended.stderr.decode(errors="replace").strip()
        raise RuntimeError(f"h2load ended with exit status {ended.returncode}: {last_words}")


def _headers(call: UnaryCall) -> Iterator[str]:
    yield "--header=content-type: application/grpc"
    yield "--header=te: trailers"
    if call.deadline_seconds is not None:
        yield f"--header=grpc-timeout: {round(1000 * call.deadline_seconds)}m"


def _length_prefixed(message: bytes) -> bytes:
    """Returns a gRPC message as it stands in the body of an HTTP/2 request, not compressed."""
    return struct.pack(">BI", 0, len(message)) + message


def _failures(output: Path) -> Counter[str]:
    """Counts failed calls by gRPC status name.

    Raises:
        RuntimeError: if calls failed below gRPC, or h2load did not print its totals.
    """
    failures, totals = Counter[str](), ""
    with output.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if failed := _FAILED_CALL.match(line):
                failures[_STATUS_NAMES.get(int(failed[1]), failed[1])] += 1
            elif line.startswith("requests: "):
                totals = line.strip()
    if " 0 failed," not in totals:
        raise RuntimeError(f"h2load: {totals or 'no totals were printed'}")
    return failures


def _call_times(log: Path, monotonic_offset: float) -> list[CallTimes]:
    """Reads start (microseconds since 1970), HTTP status and duration (microseconds) of each call."""
    rows = (line.split("\t") for line in log.read_text(encoding="ascii").splitlines())
    spans = ((int(start) / 1e6 + monotonic_offset, int(duration) / 1e6) for start, _, duration in rows)
    return sorted((CallTimes(start, start + duration) for start, duration in spans), key=lambda each: each.ended)
