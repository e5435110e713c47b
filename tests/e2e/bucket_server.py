"""moto's S3 server as a process, buckets in it, and servers of ours that read them with s3fs."""

import contextlib
import os
import re
import subprocess
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.e2e.forked_server import ForkedServer
from tests.programs import MOTO_PYTHON, ROOT

from linnaeus.server.rpc.child_server import ServerProcess

KEYS = {"AWS_ACCESS_KEY_ID": "test-key", "AWS_SECRET_ACCESS_KEY": "TOPSECRET", "AWS_DEFAULT_REGION": "us-east-1"}
_ROOTS = os.pathsep.join(str(ROOT / each) for each in ("proto", "server", "client", "models", "."))
_OPTIONS = ("--device", "cpu", "--max-batch-size", "2", "--runtime", "torchscript", "--watch-seconds", "0.5")


class Bucket:
    """A bucket of moto's server. Writes go to the server itself, whatever its readers go through.

    Attributes:
        port: the server's.
        url: of the models in the bucket.
    """

    def __init__(self, port: int, name: str = "") -> None:
        self.port = port
        self._name = name or f"zoo-{uuid.uuid4().hex[:12]}"
        self.url = f"s3://{self._name}/models"
        self._send("PUT", "")

    def push(self, folder: Path, name: str, *order: str) -> None:
        """Uploads the files of a version, the manifest last unless told otherwise."""
        names = order or sorted((path.name for path in folder.iterdir()), key=lambda each: each == "manifest.json")
        for each in names:
            self.put(f"{name}/{each}", (folder / each).read_bytes())

    def put(self, name: str, content: bytes) -> None:
        self._send("PUT", f"/models/{name}", content)

    def delete(self, name: str) -> None:
        """Deletes the objects of a version."""
        for each in ("manifest.json", "labels.txt", "model.pt"):
            self._send("DELETE", f"/models/{name}/{each}")

    def _send(self, method: str, path: str, content: bytes = b"") -> None:
        url = f"http://127.0.0.1:{self.port}/{self._name}{path}"
        # Of a form moto would read more than there is; it lets nobody replace an object who does not sign.
        headers = {"Content-Type": "application/octet-stream", "Authorization": "AWS test-key:unchecked"}
        request = urllib.request.Request(url, content if method == "PUT" else None, headers, method=method)
        with urllib.request.urlopen(request, timeout=60):
            pass


@contextmanager
def s3_server() -> Iterator[int]:
    """Starts moto's server on a free port and returns that."""
    command = [str(MOTO_PYTHON), "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(
        command, text=True, env=os.environ | KEYS, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        try:
            lines = process.stderr or ()
            port = next(int(each[1]) for line in lines if (each := re.search(r"http://127\.0\.0\.1:(\d+)", line)))
            # It logs each request; unread, the pipe would fill and the server stand still.
            threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
            yield port
        finally:
            process.terminate()


def variables(endpoint: str) -> dict[str, str]:
    """Returns the variables of a server that finds S3 at an endpoint."""
    return KEYS | {"AWS_ENDPOINT_URL": endpoint, "PYTHONPATH": _ROOTS, "LINNAEUS_HTTP_PORT": "-1"}


class BucketServer(ForkedServer):
    """A server of one process, of the environment that has s3fs.

    Args:
        endpoint: where S3 is.
        repository: the URL.
        folder: of the copy.
        options: further command-line options.
        environment: further variables.
    """

    def __init__(
        self, endpoint: str, repository: str, folder: Path, *options: str, environment: dict[str, str] | None = None
    ) -> None:
        place = ("--repository", repository, "--repository-folder", str(folder))
        found = variables(endpoint) | (environment or {})
        super().__init__(*place, *_OPTIONS, *options, python=str(MOTO_PYTHON), environment=found)


class BucketProcesses(ServerProcess):
    """The same, of several processes: front ends and an engine."""

    def __init__(self, endpoint: str, repository: str, folder: Path, *options: str) -> None:
        self._variables = os.environ | variables(endpoint)
        place = ("--repository", repository, "--repository-folder", str(folder), "--front-ends", "2")
        super().__init__(*place, *_OPTIONS, *options)

    def _start(self, arguments: list[str]) -> "subprocess.Popen[str]":
        command = [str(MOTO_PYTHON), "-m", "linnaeus.server", *arguments]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8", env=self._variables
        )


def text_of_log(server: ServerProcess) -> str:
    """Returns the log so far, a message a line."""
    return "\n".join(str(entry) for entry in server.logs)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Waits until a condition holds.

    Raises:
        TimeoutError: if it does not in time.
    """
    pause = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        pause.wait(0.02)
    raise TimeoutError


@contextmanager
def killed(server: ServerProcess) -> Iterator[ServerProcess]:
    """Kills a server at the end that may not have started to serve."""
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.kill()
