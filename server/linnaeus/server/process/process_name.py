"""The name of a process in lists of processes, such as those of `ps -e` and `top`."""

import contextlib
from pathlib import Path


def set_process_name(name: str) -> None:
    """Names the process, with at most 15 bytes; does nothing where there is no /proc."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(name, encoding="ascii")
