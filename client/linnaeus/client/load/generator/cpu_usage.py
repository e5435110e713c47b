"""How busy this process is: the time it ran, and the time it was ready to run but waited for a core.

It must not know what the process does.
"""

import time
from pathlib import Path

_TASKS = Path("/proc/self/task")
_NANOSECONDS = 1e9


class ProcessorShare:
    """Measures between `begin` and `end`.

    Attributes:
        busy: the larger of two shares of the time, at most 1.0: in which all threads together ran, for Python runs one
            of them at a time; and in which the busiest thread ran or waited for a core. 0.0 until `end`. Where the
            system does not tell of threads, the first share counts alone.
    """

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._ran_seconds = 0.0
        self._threads: dict[str, float] = {}
        self.busy = 0.0

    def begin(self) -> None:
        """Begins to measure."""
        self._began_at, self._ran_seconds = time.monotonic(), time.process_time()
        self._threads = _busy_by_thread()

    def end(self) -> None:
        """Measures since `begin`; without one, nothing."""
        if self._began_at is None:
            return
        passed = max(time.monotonic() - self._began_at, 1e-9)
        ran = time.process_time() - self._ran_seconds
        threads = (seconds - self._threads.get(name, 0.0) for name, seconds in _busy_by_thread().items())
        self.busy = min(1.0, max(ran, *threads, 0.0) / passed)
        self._began_at = None


def _busy_by_thread() -> dict[str, float]:
    """Seconds that each thread has run or waited for a core."""
    busy = {}
    for task in _TASKS.glob("*/schedstat"):
        try:
            ran, waited, *_ = task.read_text().split()
            busy[task.parent.name] = (int(ran) + int(waited)) / _NANOSECONDS
        except (OSError, ValueError):  # the thread ended, or this kernel does not keep count
            continue
    return busy
