"""How fast a device works off what it holds."""

from math import exp

# A change of the machine is known after about a second.
_MEMORY_SECONDS = 0.5
# Batches that end at about the same time are one measurement.
_LEAST_STRETCH_SECONDS = 0.02


class ServiceRate:
    """The speed at which a device drains its backlog, in seconds of work (as measured before serving) a second.

    It holds all that the table cannot know: batches side by side, decoders and calls on the same cores, other programs.
    It is measured only over stretches in which the device had a full batch waiting all the time: what it does with less
    says nothing of what it could do.

    Belongs to the queue's lock.
    """

    def __init__(self) -> None:
        self.speed = 1.0
        self._since: float | None = None
        self._done_seconds = 0.0

    def batch_finished(self, work_seconds: float, now: float, backlogged: bool) -> None:
        """A batch worth that much has run; `backlogged` says whether a full one waits right now."""
        if self._since is not None:
            self._done_seconds += work_seconds
            stretch = now - self._since
            if stretch < _LEAST_STRETCH_SECONDS:
                return
            self.speed += (1.0 - exp(-stretch / _MEMORY_SECONDS)) * (self._done_seconds / stretch - self.speed)
        self._since, self._done_seconds = (now if backlogged else None), 0.0

    def backlog_ended(self) -> None:
        """The device found less than a full batch."""
        self._since = None
