"""How fast a device drains its backlog."""

from math import exp

# The time constant of the average: a change is followed within about a second.
_MEMORY_SECONDS = 0.5
# Batches that end almost together count as one measurement.
_MIN_INTERVAL_SECONDS = 0.02


class ServiceRate:
    """The rate at which a device drains its backlog: seconds of work (as measured at warm-up) per second.

    It covers what the latency table does not: concurrent batches, decoders and calls on the same cores, other programs.
    It is measured only over intervals in which a full batch was waiting all the time; with less work the rate would not
    be the device's limit.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._backlogged_since: float | None = None
        self._done_seconds = 0.0

    def batch_finished(self, work_seconds: float, now: float, backlogged: bool) -> None:
        """Records the end of a batch.

        Args:
            work_seconds: the work of the batch, in seconds as measured at warm-up.
            now: time of the clock, in seconds.
            backlogged: whether a full batch is waiting now.
        """
        if self._backlogged_since is not None:
            self._done_seconds += work_seconds
            interval = now - self._backlogged_since
            if interval < _MIN_INTERVAL_SECONDS:
                return
            self.speed += (1.0 - exp(-interval / _MEMORY_SECONDS)) * (self._done_seconds / interval - self.speed)
        self._backlogged_since, self._done_seconds = (now if backlogged else None), 0.0

    def backlog_ended(self) -> None:
        """Ends the measured interval: the device found less than a full batch."""
        self._backlogged_since = None
