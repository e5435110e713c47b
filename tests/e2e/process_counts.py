"""Counts the threads and file descriptors of all processes of a server in /proc."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from benchmarks.common.process_usage import process_tree
from linnaeus.server.rpc.child_server import ServerProcess


def descriptors(server: ServerProcess) -> int:
    """Returns the number of open file descriptors."""
    return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in process_tree(server.child.pid))


def threads(server: ServerProcess) -> Counter[str]:
    """Counts threads by name, without gRPC's pool, which grows and shrinks by itself."""
    names: Counter[str] = Counter()
    for task in [task for pid in process_tree(server.child.pid) for task in Path(f"/proc/{pid}/task").iterdir()]:
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            names[(task / "comm").read_text(encoding="utf-8").strip()] += 1
    del names["event_engine"]
    return names
