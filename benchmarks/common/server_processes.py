"""What the processes of a Linnaeus server are for, and the processor time of their threads, read from /proc."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.common.process_usage import TICKS_A_SECOND, process_tree

# Roles of processes. Python starts another small one beside the fork server, which counts as one.
ONE_PROCESS, SUPERVISOR, FRONT_END, ENGINE = "one process", "supervisor", "front ends", "engine"
FORK_SERVER = "fork server"
ROLES = (ONE_PROCESS, FRONT_END, ENGINE, SUPERVISOR, FORK_SERVER)
# Stages of the work: what a thread is for.
EVENT_LOOP, GRPC, DECODERS, DEVICE_WORKERS = "event loop", "gRPC's threads", "decoders", "device workers"
OTHER_THREADS = "other threads"
STAGES = (EVENT_LOOP, GRPC, DECODERS, DEVICE_WORKERS, OTHER_THREADS)

Stage: TypeAlias = tuple[str, str]  # the role of the process, what the thread is for

_PROC = Path("/proc")
_NAMES = {"linnaeus-engine": ENGINE, "linnaeus-front": FRONT_END}
_OURS = {"linnaeus-decode": DECODERS, "linnaeus-cpu": DEVICE_WORKERS, "linnaeus-cuda": DEVICE_WORKERS}
# As gRPC's C++ names them; the thread of its asyncio API that waits for events has the name of the process.
_GRPCS = ("event_engine", "grpc_", "lifeguard", "timer_manager", "resolver-", "default-exec")


@dataclass(frozen=True, slots=True)
class ThreadTime:
    """The stage of a thread, and its processor time in seconds since it started."""

    stage: Stage
    seconds: float


def process_roles(root: int) -> dict[int, str]:
    """Returns the role of a server's process and of all its descendants, by process id."""
    roles = {pid: _NAMES.get(_read(pid, pid, "comm").strip(), FORK_SERVER) for pid in process_tree(root)}
    return roles | {root: SUPERVISOR if ENGINE in roles.values() else ONE_PROCESS}


def thread_times(root: int) -> dict[int, ThreadTime]:
    """Returns the threads of a server's process and of all its descendants, by thread id."""
    found = dict[int, ThreadTime]()
    for pid, role in process_roles(root).items():
        names = {thread: name for thread in _threads(pid) if (name := _read(pid, thread, "comm").strip())}
        has_grpc = any(name.startswith(_GRPCS) for name in names.values())
        for thread, name in names.items():
            kind = EVENT_LOOP if thread == pid else _kind(name, name == names.get(pid), has_grpc)
            found[thread] = ThreadTime((role, kind), _seconds(pid, thread))
    return found


def spent_seconds(before: Mapping[int, ThreadTime], after: Mapping[int, ThreadTime]) -> dict[Stage, float]:
    """Returns the processor time in seconds between two readings, by stage. Threads that ended are not counted."""
    spent = dict[Stage, float]()
    for thread, now in after.items():
        then = before[thread].seconds if thread in before else 0.0
        spent[now.stage] = spent.get(now.stage, 0.0) + now.seconds - then
    return spent


def _kind(name: str, has_name_of_process: bool, has_grpc: bool) -> str:
    """Returns what a thread is for."""
    if name.startswith(_GRPCS) or (has_grpc and has_name_of_process):
        return GRPC
    ours = (kind for start, kind in _OURS.items() if name.startswith(start))
    return next(ours, OTHER_THREADS)


def _seconds(pid: int, thread: int) -> float:
    """Returns the processor time of a thread, in nanoseconds' steps if the kernel has them, else in ticks of 10 ms."""
    if schedstat := _read(pid, thread, "schedstat"):
        return int(schedstat.split()[0]) / 1e9
    fields = _read(pid, thread, "stat").rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / TICKS_A_SECOND


def _threads(pid: int) -> list[int]:
    try:
        return [int(entry.name) for entry in (_PROC / str(pid) / "task").iterdir()]
    except OSError:
        return []


def _read(pid: int, thread: int, file: str) -> str:
    """Returns a file of a thread; empty if the thread has ended, or the kernel has no such file."""
    try:
        return (_PROC / str(pid) / "task" / str(thread) / file).read_text()
    except OSError:
        return ""
