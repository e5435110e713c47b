"""What travels through the queue: tickets, the batches made of them, and the refusals at admission."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Generic, TypeVar

Payload = TypeVar("Payload")


class QueueFull(Exception):
    """The lane holds as many tickets as it may.

    Attributes:
        held: how many that is.
        wait_seconds: how long those will take, by the latency table.
    """

    def __init__(self, held: int, wait_seconds: float) -> None:
        super().__init__(held, wait_seconds)
        self.held = held
        self.wait_seconds = wait_seconds


class QueueClosed(Exception):
    """The queue takes no more tickets."""


class LaneClosed(QueueClosed):
    """The lane takes no more tickets, or is gone."""


class NoDevice(Exception):
    """Every device that could run the lane has been taken out."""


class TooLate(Exception):
    """The deadline has passed, or is going to before the ticket's answer.

    Attributes:
        wait_seconds: when the answer was to be expected, from now.
        allowed_seconds: when the deadline is, from now; not above 0 if it has passed.
    """

    def __init__(self, wait_seconds: float, allowed_seconds: float) -> None:
        super().__init__(wait_seconds, allowed_seconds)
        self.wait_seconds = wait_seconds
        self.allowed_seconds = allowed_seconds


class Priority(IntEnum):
    """Who goes first; the smaller, the sooner."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Stage(Enum):
    """Where a ticket stands. It moves forwards only, but for one whose device was taken out: that is QUEUED again."""

    ADMITTED = "admitted"
    DECODING = "decode"
    QUEUED = "queue"
    TAKEN = "inference"
    ENDED = "gone"


@dataclass(slots=True, eq=False)
class Ticket(Generic[Payload]):
    """One image's place. Only the queue changes it. All times are the queue's clock's.

    Attributes:
        lane: the lane it was admitted to.
        payload: what decoder and device need; the queue never looks at it.
        deadline: when the answer becomes worth nothing; None for never.
        priority: its class.
        due: what it is ordered by within its class: the deadline, or a late one for a ticket that has none.
        decode_seconds: what decoding it is expected to cost, later what it did cost, in processor seconds.
        size: of what is to be decoded, in bytes.
        admitted_at, queued_at, taken_at: when it was; 0.0 before.
        caller: who it is from, as far as is known; empty for unknown.
        is_decoded: whether it came as pixels that no decoder needs to see.
        held_until: before then nothing is done for it; see `cancelling_callers`.
        predicted_at: when the answer was expected, at admission; of a ticket that was dropped, when it was.
        order: the place in the order of admission.
        stage: where it stands.
    """

    lane: Hashable
    payload: Payload
    deadline: float | None
    priority: Priority
    due: float
    decode_seconds: float
    size: int
    admitted_at: float
    predicted_at: float
    order: int
    caller: str = ""
    is_decoded: bool = False
    held_until: float = 0.0
    stage: Stage = Stage.ADMITTED
    queued_at: float = 0.0
    taken_at: float = 0.0

    @property
    def timeout_seconds(self) -> float | None:
        """How much time it had when it was admitted; None for any."""
        return None if self.deadline is None else self.deadline - self.admitted_at

    def is_before_deadline(self, now: float) -> bool:
        """Whether the deadline is still to come."""
        return self.deadline is None or now < self.deadline


@dataclass(frozen=True, slots=True)
class DecodeTurn(Generic[Payload]):
    """What a decoder takes: tickets to decode, most urgent first, and those dropped because decoding them is in vain.

    At least one of the two is not empty.
    """

    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[Payload]):
    """What a device takes: tickets to run, most urgent first, and those dropped because they would be late.

    At least one of the two is not empty.

    Attributes:
        number: counts the queue's batches.
        lane, device: whose batch it is, and who runs it.
        concurrent: batches that were running on the device when it was taken.
        taken_at: the clock's time of that.
        expected_seconds: how long it will run, by the latency table.
    """

    number: int
    lane: Hashable
    device: str
    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]
    concurrent: int
    taken_at: float
    expected_seconds: float
