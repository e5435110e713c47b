"""How many cores this process may use: those it is bound to, or fewer where its control group gives it less time.

A container that may use half of a machine's time sees all of its cores. Threads for all of them would spend the time
early in each period and then all stand still together until the next.
"""

import os
from collections.abc import Iterable, Iterator
from math import ceil, inf
from pathlib import Path, PurePosixPath

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Cores, at least 1; a part of one counts as one.

    Args:
        root: where the system's `proc` and `sys` are.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(_quotas(root), default=inf)
    return max(1, ceil(min(bound, allowed)))


def _quotas(root: Path) -> Iterator[float]:
    """The limits, in cores, of the process's control group and of those above it, in both versions of the interface."""
    for controllers, group in _groups(root):
        if not controllers:
            folders = _upwards(root / "sys/fs/cgroup", group)
            yield from (quota for folder in folders if (quota := _quota(_read(folder / "cpu.max"))) is not None)
        elif "cpu" in controllers.split(","):
            for folder in _upwards(root / "sys/fs/cgroup/cpu", group):
                told = (_read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                if (quota := _quota(" ".join(told))) is not None:
                    yield quota


def _groups(root: Path) -> Iterable[tuple[str, PurePosixPath]]:
    """Controllers and path of each hierarchy that the process is in."""
    lines = (line.split(":", 2) for line in _read(root / "proc/self/cgroup").splitlines())
    return [(line[1], PurePosixPath(line[2])) for line in lines if len(line) == 3]


def _upwards(mount: Path, group: PurePosixPath) -> Iterator[Path]:
    """The group's folder and those above it; in a container its own group is often the mounted root."""
    for part in (group, *group.parents):
        yield mount / str(part).lstrip("/")


def _quota(told: str) -> float | None:
    """`quota period` in microseconds, as cores; None for no limit."""
    try:
        quota, period = (float(number) for number in told.split())
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        return ""
