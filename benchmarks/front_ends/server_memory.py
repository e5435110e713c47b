"""The memory of a server that idles, by process."""

from dataclasses import replace
from pathlib import Path

import grpc

from benchmarks.common.process_usage import proportional_set_bytes
from benchmarks.common.report import print_table
from benchmarks.common.server_processes import ROLES, process_roles
from benchmarks.peers.request_sets import RequestSet
from benchmarks.peers.servers import linnaeus

# Each on a connection of its own, so that every front end has answered: of four, one is left out once in 2,500 times.
_CALLS = 32


def measure_memory(version: Path, requests: RequestSet, front_ends: int) -> dict[str, int]:
    """Starts a server, calls each of its front ends, and returns its proportional set size in bytes, by role.

    No other server may run meanwhile: it would share pages with this one.

    Args:
        version: folder of the model's version.
        requests: one of them is sent.
        front_ends: number of front ends; 0 for one process.
    """
    with linnaeus(version, "--front-ends", str(front_ends)) as server:
        for _ in range(_CALLS):
            with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
                replace(server, channel=channel).call(requests.path, requests.messages[0])
        found = dict[str, int]()
        for pid, role in process_roles(server.process).items():
            found[role] = found.get(role, 0) + proportional_set_bytes(pid)
        return found


def print_memory(measured: dict[str, dict[str, int]]) -> None:
    """Prints megabytes by role, a column for each server, by its name."""
    rows = []
    for role in ROLES:
        if any(role in by_role for by_role in measured.values()):
            rows.append((role, *(_megabytes(by_role.get(role, 0)) for by_role in measured.values())))
    rows.append(("the whole server", *(_megabytes(sum(by_role.values())) for by_role in measured.values())))
    print_table("Memory after a few calls, MB; a page that processes share counts once", ("", *measured), rows)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f}" if size else "-"
