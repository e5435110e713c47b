"""The CPU usage of this process: the time it ran, and the time its threads were ready to run but waited for a core."""

import time
from pathlib import Path

_TASKS = Path("/proc/self/task")
_NANOSECONDS = 1e9


class CpuUsage:
    """Measures between `start` and `stop`.

    Attributes:
        busy: the larger of two shares of the time, at most 1.0: the share in which all threads together ran, because
            Python runs one of them at a time; and the share in which the busiest thread ran or waited for a core. 0.0
            until `stop`. Without statistics of threads, only the first share counts.
    """

    def __init__(self) -> None:
        self._started_at: float | None = None
        self._ran_seconds = 0.0
        self._threads: dict[str, float] = {}
        self.busy = 0.0

    def start(self) -> None:
        """Starts to measure."""
        self._started_at, self._ran_seconds = time.monotonic(), time.process_time()
        self._threads = _busy_by_thread()

    def stop(self) -> None:
        """Sets `busy` for the time since `start`; does nothing without one."""
        if self._started_at is None:
            return
        passed = max(time.monotonic() - self._started_at, 1e-9)
        ran = time.process_time() - self._ran_seconds
        threads = (seconds - self._threads.get(name, 0.0) for name, seconds in _busy_by_thread().items())
        self.busy = min(1.0, max(ran, *threads, 0.0) / passed)
        self._started_at = None


def _busy_by_thread() -> dict[str, float]:
    """Returns by thread the seconds in which it ran or waited for a core."""
    busy = {}
    for task in _TASKS.glob("*/schedstat"):
        try:
            ran, waited, *_ = task.read_text().split()
            busy[task.parent.name] = (int(ran) + int(waited)) / _NANOSECONDS
        except (OSError, ValueError):  # the thread ended, or this kernel keeps no statistics
            continue
    return busy
