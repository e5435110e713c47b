"""Counts a server process's threads and descriptors, as Linux lists them below /proc."""

import os
from collections import Counter
from contextlib import suppress
from pathlib import Path

from linnaeus.server.rpc.child_server import ServerProcess


def descriptors(server: ServerProcess) -> int:
    """Open file descriptors."""
    return len(os.listdir(f"/proc/{server.child.pid}/fd"))


def threads(server: ServerProcess) -> Counter[str]:
    """Threads by name, without gRPC's own pool, which grows and shrinks by itself."""
    names: Counter[str] = Counter()
    for task in Path(f"/proc/{server.child.pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            names[(task / "comm").read_text(encoding="utf-8").strip()] += 1
    del names["event_engine"]
    return names
