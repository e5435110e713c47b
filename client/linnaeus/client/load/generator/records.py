"""The outcomes of calls, compact enough to be sent between processes."""

from array import array
from dataclasses import dataclass, field
from enum import IntEnum

# Index, label and probability of the most probable class.
TopClass = tuple[int, str, float]


class CallOutcome(IntEnum):
    """What became of a call; `Counts` has a field for each."""

    OK = 0
    LATE = 1
    REFUSED = 2
    FAILED = 3
    DIFFERED = 4
    CANCELLED = 5
    CORRUPT = 6


@dataclass(slots=True)
class Records:
    """Calls that ended, as parallel arrays: 18 bytes a call.

    Attributes:
        scheduled: float64, when the call was to be sent, in seconds from the start of the measurement.
        lags: float32, seconds by which it was sent later than that.
        latencies: float32, seconds from the scheduled time to its end.
        outcomes: uint8, a `CallOutcome`.
        codes: uint8, the number of the status code.
    """

    scheduled: "array[float]" = field(default_factory=lambda: array("d"))
    lags: "array[float]" = field(default_factory=lambda: array("f"))
    latencies: "array[float]" = field(default_factory=lambda: array("f"))
    outcomes: "array[int]" = field(default_factory=lambda: array("B"))
    codes: "array[int]" = field(default_factory=lambda: array("B"))

    def add(self, scheduled: float, lag: float, latency: float, outcome: int, code: int) -> None:
        """Appends one call."""
        self.scheduled.append(scheduled)
        self.lags.append(lag)
        self.latencies.append(latency)
        self.outcomes.append(outcome)
        self.codes.append(code)

    def __len__(self) -> int:
        return len(self.codes)
