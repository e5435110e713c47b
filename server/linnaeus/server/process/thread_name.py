"""The name of a thread in lists of threads, such as those of `top -H` and `ps -L`."""

import contextlib
import threading
from pathlib import Path


def show_thread_name() -> None:
    """Gives the system the calling thread's name, of which it keeps 15 bytes; does nothing where there is no /proc.

    Python does so by itself from 3.14 on. Threads that native code starts on this one inherit the name.
    """
    with contextlib.suppress(OSError):
        name = Path(f"/proc/self/task/{threading.get_native_id()}/comm")
        name.write_text(threading.current_thread().name, encoding="utf-8")
