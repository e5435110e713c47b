"""The threads that decode pictures, and how they share the cores with a model that runs on the CPU."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

# Must not raise, for nobody would hear it.
Job = Callable[[], None]


class DecodePool:
    """Runs decoding jobs on threads; on a CPU, begins none while a batch runs. Any thread may call it.

    On a CPU the model and the decoders want the same cores. Each operation of a model ends when the slowest of its
    threads does, so a decoder that takes a core from one of them makes all of them wait. Pictures that come during a
    run are therefore held until its end and then decoded together, while the next run begins: the model is disturbed
    once a run and not all through it (docs/decisions/0005-sharing-the-cores.md has the figures). What comes during
    a run could not have been run before its end anyway. A GPU leaves the cores alone: there nothing is held.

    Invariants:
        1. Jobs begin in the order they were submitted, each exactly once.
        2. With `shares_cores`, none begins between `run_began` and `run_ended`.

    Args:
        threads: how many pictures are decoded at once.
        shares_cores: whether the device runs on the decoders' cores.
    """

    def __init__(self, threads: int, shares_cores: bool) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="linnaeus-decode")
        self._shares_cores = shares_cores
        self._lock = threading.Lock()
        self._held: list[Job] = []
        self._is_running = False

    def submit(self, job: Job) -> None:
        """Runs the job on a thread: soon, or after the current run."""
        with self._lock:
            if self._is_running:
                self._held.append(job)
            else:
                self._threads.submit(job)

    def run_began(self) -> None:
        """The device wants the cores."""
        with self._lock:
            self._is_running = self._shares_cores

    def run_ended(self) -> None:
        """The device is done; begins what was held."""
        with self._lock:
            self._is_running = False
            for job in self._held:
                self._threads.submit(job)
            self._held.clear()

    def close(self) -> None:
        """Takes no more jobs; those that were begun end by themselves."""
        self._threads.shutdown(wait=False)
