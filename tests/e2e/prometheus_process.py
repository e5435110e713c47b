"""A real Prometheus on a port of its own, and queries to it."""

import json
import shutil
import subprocess
import threading
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.common.ports import free_port

Query: TypeAlias = Callable[[str], list[dict[str, Any]]]


@contextmanager
def prometheus(folder: Path) -> Iterator[Query]:
    """Runs Prometheus with `prometheus.yml` of the folder; yields a function that returns what a query finds."""
    address = f"127.0.0.1:{free_port()}"
    options = [f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
    command = [str(shutil.which("prometheus")), f"--config.file={folder}/prometheus.yml", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    ready = threading.Event()
    with process:
        log = threading.Thread(target=_read_log, args=(process, ready))
        log.start()
        try:
            ready.wait()
            assert process.poll() is None, "prometheus ended before it was ready"
            yield lambda expression: _query(address, expression)
        finally:
            process.terminate()
            log.join()


def _read_log(process: "subprocess.Popen[str]", ready: threading.Event) -> None:
    """Reads the log to its end, since a full pipe would block Prometheus; sets `ready` at the latest when it ends."""
    assert process.stderr is not None
    for line in process.stderr:
        if "Server is ready to receive web requests" in line:
            ready.set()
    process.wait()
    ready.set()


def _query(address: str, expression: str) -> list[dict[str, Any]]:
    url = f"http://{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        body = json.load(answer)
    assert body["status"] == "success"
    result: list[dict[str, Any]] = body["data"]["result"]
    return result
