"""The memory that this process may use, from the machine and its control groups' limits."""

import os
from collections.abc import Iterator
from pathlib import Path

from linnaeus.server.process.control_groups import groups, read, upwards

_ROOT = Path("/")


def usable_memory_bytes(root: Path = _ROOT) -> int:
    """Returns the memory in bytes: the machine's, or less if a control group has a limit.

    Args:
        root: the folder that contains `proc` and `sys`.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """Yields the limits of the process's control groups and their ancestors; a group without one says `max`."""
    for controllers, group in groups(root):
        if not controllers:
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        texts = (read(folder / name).strip() for folder in upwards(mount, group))
        yield from (int(text) for text in texts if text.isdecimal())
