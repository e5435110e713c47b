"""The number of cores that this process may use, from its CPU affinity and its control groups' quotas.

A container with a CPU quota still sees all cores of the machine. One thread per visible core would use up the quota
early in each period, and then all threads would be throttled until the next period.
"""

import os
from collections.abc import Iterator
from math import ceil, inf
from pathlib import Path

from linnaeus.server.process.control_groups import groups, read, upwards

_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Returns the number of usable cores, at least 1, rounded up.

    Args:
        root: the folder that contains `proc` and `sys`.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = min(_quotas(root), default=inf)
    return max(1, ceil(min(bound, allowed)))


def _quotas(root: Path) -> Iterator[float]:
    """Yields the quotas, in cores, of the process's control groups and their ancestors, of cgroup v1 and v2."""
    for controllers, group in groups(root):
        if not controllers:
            folders = upwards(root / "sys/fs/cgroup", group)
            yield from (quota for folder in folders if (quota := _quota(read(folder / "cpu.max"))) is not None)
        elif "cpu" in controllers.split(","):
            for folder in upwards(root / "sys/fs/cgroup/cpu", group):
                values = (read(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))
                if (quota := _quota(" ".join(values))) is not None:
                    yield quota


def _quota(text: str) -> float | None:
    """Parses `QUOTA PERIOD`, both in microseconds, and returns their ratio in cores; None for no limit."""
    try:
        quota, period = (float(number) for number in text.split())
    except ValueError:  # "max", or no such file
        return None
    return quota / period if quota > 0 and period > 0 else None
