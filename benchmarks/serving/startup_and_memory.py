"""Time from start to SERVING, and the memory that a server takes and keeps; parts of `make bench`."""

import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from benchmarks.common.load_tester import measure_closed_loop
from linnaeus.server.rpc.child_server import ServerProcess

STARTS = 3
CALLERS = 64
SECONDS = 2.0
GROWTH_CALLS = 20_000


def bench_start(repository: Path) -> None:
    """Starts a server several times and prints how long each start took."""
    seconds = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with ServerProcess("--repository", str(repository)):
            seconds.append(time.perf_counter() - started)
    print(f"start to SERVING with both models: {', '.join(f'{each:.1f}' for each in seconds)} s (at most 15)")


def bench_memory(server: ServerProcess, images: Mapping[str, tuple[Path, ...]]) -> None:
    """Prints resident memory and its growth over many calls of all models.

    Args:
        server: as the other parts of the benchmark left it.
        images: what is sent to each model.

    Raises:
        RuntimeError: if a call fails.
    """
    before, sent = _resident_bytes(server), 0
    while sent < GROWTH_CALLS:
        for model, paths in images.items():
            sent += measure_closed_loop(server, model, paths, CALLERS, SECONDS).counts.sent
    after = _resident_bytes(server)
    print(f"\nresident memory: {before / 1e6:.0f} MB, after {sent} more calls {after / 1e6:.0f} MB (at most 1000)")
    print(f"  growth {(after - before) / 1e6:+.1f} MB (none), failed calls 0")


def _resident_bytes(server: ServerProcess) -> float:
    """Reads resident memory from the server's metrics."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("process_resident_memory_bytes ")))
