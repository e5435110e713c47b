"""What a sending process tells the parent: one compact record an image, and a few words about itself.

It must not know how a record came about or what is made of it.
"""

from array import array
from dataclasses import dataclass, field
from enum import IntEnum

# Index and label of the best class, and its probability.
Top = tuple[int, str, float]


class Outcome(IntEnum):
    """What became of a call; the names are those of `Counts`."""

    OK = 0
    LATE = 1
    REFUSED = 2
    FAILED = 3
    DIFFERED = 4
    CANCELLED = 5
    CORRUPT = 6


@dataclass(slots=True)
class Records:
    """Calls that ended, one place in every array each; arrays keep a call at 18 bytes on its way to the parent.

    Attributes:
        moments: float64, seconds from the start of measuring at which it was meant to be sent.
        lags: float32, seconds by which it left later than that.
        latencies: float32, seconds from that moment to its end.
        outcomes: uint8, an `Outcome`.
        codes: uint8, the status code's number.
    """

    moments: "array[float]" = field(default_factory=lambda: array("d"))
    lags: "array[float]" = field(default_factory=lambda: array("f"))
    latencies: "array[float]" = field(default_factory=lambda: array("f"))
    outcomes: "array[int]" = field(default_factory=lambda: array("B"))
    codes: "array[int]" = field(default_factory=lambda: array("B"))

    def add(self, moment: float, lag: float, latency: float, outcome: int, code: int) -> None:
        """Appends one call."""
        self.moments.append(moment)
        self.lags.append(lag)
        self.latencies.append(latency)
        self.outcomes.append(outcome)
        self.codes.append(code)

    def __len__(self) -> int:
        return len(self.codes)


@dataclass(frozen=True, slots=True)
class Ready:
    """A process has read its pictures and opened its connections: it waits for the moment to start."""


@dataclass(frozen=True, slots=True)
class News:
    """What a process did since it last said so.

    Attributes:
        records: calls that ended.
        in_flight: calls sent that have not ended.
    """

    records: Records
    in_flight: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A process's last word.

    Attributes:
        busy: share of the measured time in which it ran or waited for a core, 0 to 1.
        not_sent: images meant to be sent while measuring that were not, for want of time.
        full: whether `max_in_flight` ever held a call back.
        first_answers: what each picture was answered first, by its place in the plan.
    """

    busy: float
    not_sent: int
    full: bool
    first_answers: dict[int, Top]


@dataclass(frozen=True, slots=True)
class Broken:
    """A process cannot go on.

    Attributes:
        reason: why, in one sentence.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """The parent's word to begin.

    Attributes:
        moment: of measuring, on `time.monotonic`, which all processes of a machine share.
    """

    moment: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The parent's word to send nothing more; calls in flight are waited for."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The parent's word to cancel what is in flight."""
