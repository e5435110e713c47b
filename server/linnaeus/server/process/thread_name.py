"""The names of threads in lists of threads, as of `top -H` and `ps -L`, and of processes, as of `ps -e` and `top`."""

import contextlib
import threading
from pathlib import Path


def show_thread_name(name: str = "") -> None:
    """Gives the system the calling thread's name, of which it keeps 15 bytes; does nothing where there is no /proc.

    Python does so by itself from 3.14 on. Threads that native code starts on this one inherit the name.

    Args:
        name: another name than Python's; the main thread's is that of the process.
    """
    with contextlib.suppress(OSError):
        comm = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        comm.write_text(name or threading.current_thread().name, encoding="utf-8")
