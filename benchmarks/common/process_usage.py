"""What a server's processes took: processor time and memory, as Linux tells them of a process and all below it."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")


def processor_seconds(root: int) -> float:
    """Processor time of a process and those below it since they started."""
    return sum(sum(map(int, _fields(pid)[11:13])) / _TICKS for pid in tree(root))


def memory_bytes(root: int) -> int:
    """Resident memory of a process and those below it; a page that several share counts once."""
    return sum(_proportional(pid) for pid in tree(root))


def tree(root: int) -> list[int]:
    """A process and all below it, those that are there now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (fields := _fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = list[int](), [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def _fields(pid: int) -> list[str]:
    """Of /proc/PID/stat behind the command's name, the state first; none if the process is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _proportional(pid: int) -> int:
    try:
        lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
