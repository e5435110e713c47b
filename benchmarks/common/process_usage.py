"""Processor time and memory of a process and its descendants, read from /proc."""

import os
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def processor_seconds(root: int) -> float:
    """Returns the processor time that a process and its descendants have used since they started."""
    return sum(sum(map(int, _stat_fields(pid)[11:13])) / TICKS_A_SECOND for pid in process_tree(root))


def machine_processor_seconds() -> float:
    """Returns the processor time that all cores have been busy since the machine started."""
    user, nice, system, _idle, _waiting, *interrupts = map(
        int, (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:8]
    )
    return (user + nice + system + sum(interrupts)) / TICKS_A_SECOND


def memory_bytes(root: int) -> int:
    """Returns the resident memory of a process and its descendants; pages that they share count once."""
    return sum(proportional_set_bytes(pid) for pid in process_tree(root))


def process_tree(root: int) -> list[int]:
    """Returns the ids of a process and of its descendants that exist now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = list[int](), [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def proportional_set_bytes(pid: int) -> int:
    """Returns the resident memory of a process; of a page that n processes share, an n-th counts. 0 if it has ended."""
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _stat_fields(pid: int) -> list[str]:
    """Returns the fields of /proc/PID/stat behind the command's name, or an empty list if the process has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
