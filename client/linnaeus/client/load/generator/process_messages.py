"""The messages between the parent process and a generator process."""

from dataclasses import dataclass, field

from linnaeus.client.load.generator.failure_reasons import FailureReasons
from linnaeus.client.load.generator.records import Records, TopClass


@dataclass(frozen=True, slots=True)
class Ready:
    """From a generator process: it has read its images and opened its connections, and waits for `Start`."""


@dataclass(frozen=True, slots=True)
class Update:
    """From a generator process: what happened since the last update.

    Attributes:
        records: calls that ended.
        in_flight: calls that were sent and have not ended.
        failures: why measured calls among the records were not ok.
    """

    records: Records
    in_flight: int
    failures: FailureReasons = field(default_factory=FailureReasons)


@dataclass(frozen=True, slots=True)
class Finished:
    """From a generator process: its last message.

    Attributes:
        busy: the share of the measured time in which it ran or waited for a core, 0 to 1.
        not_sent: images that were to be sent while measuring and were not, for lack of time.
        full: whether `max_in_flight` ever delayed a call.
        first_answers: the first answer for each image, by the image's index in the plan.
    """

    busy: float
    not_sent: int
    full: bool
    first_answers: dict[int, TopClass]


@dataclass(frozen=True, slots=True)
class ProcessFailed:
    """From a generator process: it cannot continue.

    Attributes:
        reason: why, in one sentence.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Start:
    """To a generator process: begin.

    Attributes:
        at: the start of the measurement on `time.monotonic`, which all processes of a machine share.
    """

    at: float


@dataclass(frozen=True, slots=True)
class Stop:
    """To a generator process: send no more calls, and wait for those in flight."""


@dataclass(frozen=True, slots=True)
class CancelAll:
    """To a generator process: send no more calls, and cancel those in flight."""
