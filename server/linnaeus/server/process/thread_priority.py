"""Scheduling priorities of compute threads, so that the event loop's thread gets a core when it needs one."""

import contextlib
import os
import sys
import threading

_NICENESS = 5


def lower_priority() -> None:
    """Lowers the priority of the calling thread, and of threads that it starts, below the event loop's.

    The event loop needs little CPU time but needs it at once: a call that waits for the loop loses time before its
    deadline is first checked. At five times a machine's capacity, calls lost 400 of their 500 ms that way.

    Uses niceness, which Linux has per thread; does nothing on other systems.
    """
    if sys.platform.startswith("linux"):
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):  # a sandbox may forbid it; calls only wait longer for the event loop
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)


def use_idle_scheduling() -> None:
    """Makes the calling thread run only on otherwise idle cores; does nothing where that is not supported.

    On a CPU the model and the decoders compete for the same cores. A model's operation on several threads ends with its
    slowest thread, so a decoder that takes the core of one delays all. With one batch per core this hardly happens, and
    decoders that wait too long cost more (docs/decisions/0009-promises.md).

    Uses Linux's SCHED_IDLE rather than a low priority: any other thread that wakes up preempts an idle one at once.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it; decoding works without it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
