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
        busy: share of the time in which the process ran or waited for a core, summed over its threads and cut at 1.0;
            0.0 until `end`. Where the system does not tell of waiting, running counts alone.
    """

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._ran_seconds = 0.0
        self._waits: dict[str, float] = {}
        self.busy = 0.0

    def begin(self) -> None:
        """Begins to measure."""
        self._began_at, self._ran_seconds = time.monotonic(), time.process_time()
        self._waits = _waits_by_task()

    def end(self) -> None:
        """Measures since `begin`; without one, nothing."""
        if self._began_at is None:
            return
        passed = max(time.monotonic() - self._began_at, 1e-9)
        waited = sum(seconds - self._waits.get(task, 0.0) for task, seconds in _waits_by_task().items())
        self.busy = min(1.0, (time.process_time() - self._ran_seconds + waited) / passed)
        self._began_at = None


def _waits_by_task() -> dict[str, float]:
    """Seconds each thread has waited for a core; /proc/self/schedstat itself tells of the first thread only."""
    waits = {}
    for task in _TASKS.glob("*/schedstat"):
        try:
            waits[task.parent.name] = int(task.read_text().split()[1]) / _NANOSECONDS
        except (OSError, IndexError, ValueError):  # the thread ended, or this kernel does not keep count
            continue
    return waits
