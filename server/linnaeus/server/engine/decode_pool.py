"""The threads that decode pictures, and how they share the cores with a model that runs on the CPU."""

import contextlib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# Must not raise, for nobody would hear it.
Job = Callable[[], None]


class DecodePool:
    """Runs decoding jobs on threads, in the order they were submitted. Any thread may call it.

    On a CPU the model and the decoders want the same cores. Each operation of a model ends when the slowest of its
    threads does, so a decoder that takes a core from one of them makes all of them wait. Decoders `in_background`
    take only what the model leaves: the gaps between its operations and the time between its runs
    (docs/decisions/0005-sharing-the-cores.md has the figures). A GPU leaves the cores alone.

    Args:
        threads: how many pictures are decoded at once.
        in_background: whether they give way to every other thread.
    """

    def __init__(self, threads: int, in_background: bool) -> None:
        begin = give_way if in_background else None
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="linnaeus-decode", initializer=begin)

    def submit(self, job: Job) -> None:
        """Runs the job on the next free thread."""
        self._threads.submit(job)

    def close(self) -> None:
        """Takes no more jobs; those that were begun end by themselves."""
        self._threads.shutdown(wait=False)


def give_way() -> None:
    """From now on the calling thread runs only where no other wants to; nothing changes where that is impossible.

    This is Linux' SCHED_IDLE: not merely a low priority, for a thread that wakes up takes the core at once.
    """
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a sandbox may forbid it; decoding works all the same
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
