"""Threads that compute, and how they leave the cores to those that answer calls."""

import contextlib
import os
import sys
import threading

_NICENESS = 5


def lower_priority() -> None:
    """From now on the calling thread, and those it starts, get less of a core that the event loop wants as well.

    The event loop needs little, but needs it at once: a call that waits for it loses its time before anybody has looked
    at its deadline. At five times the load that a machine can serve, calls lost 400 of their 500 ms that way.

    This is niceness, which on Linux each thread has for itself; nothing changes elsewhere.
    """
    if sys.platform.startswith("linux"):
        thread = threading.get_native_id()
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _NICENESS)


def use_idle_scheduling() -> None:
    """From now on the calling thread runs only where no other wants to; nothing changes where that is impossible.

    On a CPU the model and the decoders want the same cores. An operation of a model that runs on several threads ends
    when the slowest of them does, so a decoder that takes a core from one makes all of them wait. With one batch a core
    there is little of that left, and decoders that wait too long cost more (docs/decisions/0009-promises.md).

    This is Linux' SCHED_IDLE: not merely a low priority, for a thread that wakes up takes the core at once.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it; decoding works all the same
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
