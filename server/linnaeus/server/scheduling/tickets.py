"""Tickets, the batches made of them, and the exceptions of admission."""

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Generic, TypeVar

from linnaeus.server.scheduling.decode_costs import DecodeWork

Payload = TypeVar("Payload")


class QueueFull(Exception):
    """The lane is full.

    Attributes:
        held: number of tickets in the lane.
        wait_seconds: how long those will take.
    """

    def __init__(self, held: int, wait_seconds: float) -> None:
        super().__init__(held, wait_seconds)
        self.held = held
        self.wait_seconds = wait_seconds


class QueueClosed(Exception):
    """The queue admits no more tickets."""


class LaneClosed(QueueClosed):
    """The lane admits no more tickets, or does not exist."""


class NoDevice(Exception):
    """Every device that could run the lane has been removed."""


class TooLate(Exception):
    """The deadline has passed, or is before the expected answer.

    Attributes:
        wait_seconds: expected time until the answer.
        allowed_seconds: time until the deadline; at most 0 if it has passed.
    """

    def __init__(self, wait_seconds: float, allowed_seconds: float) -> None:
        super().__init__(wait_seconds, allowed_seconds)
        self.wait_seconds = wait_seconds
        self.allowed_seconds = allowed_seconds


class Priority(IntEnum):
    """The priority class; smaller values go first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class Stage(Enum):
    """The stage of a ticket.

    It only advances, except that a ticket of a removed device returns to QUEUED, and one that a decoder gives back to
    ADMITTED.
    """

    ADMITTED = "admitted"
    DECODING = "decode"
    QUEUED = "queue"
    TAKEN = "inference"
    ENDED = "gone"


@dataclass(slots=True, eq=False)
class Ticket(Generic[Payload]):
    """The place of one image in the scheduler. Only the queue changes it. All times are of the queue's clock.

    Attributes:
        lane: key of the lane.
        payload: what decoder and device need; the queue does not read it.
        deadline: when the answer becomes useless; None for never.
        priority: the priority class.
        due: the order within the class: the deadline, or an implied one if there is none.
        work: what its header says of the work of decoding it; None if it needs no decoder.
        decode_seconds: processor seconds of decoding; expected, then measured.
        decoder_seconds, run_seconds: how long it is expected to occupy all decoders and a device, in its caller's use.
        admitted_at, queued_at, taken_at: when the ticket reached that stage; 0.0 before.
        caller: identity of the caller; empty if unknown.
        is_probe: whether it was admitted to find out if an estimate that refuses is still right; it is run although
            it is expected to be late.
        held_until: the ticket is held back until then; see `cancelling_callers`.
        yields_until: until then it goes behind every ticket that need not yield: its caller is above its share.
        predicted_at: predicted time of the answer, set at admission and when the ticket is dropped; None without a
            deadline, since nothing depends on it.
        order: place in the order of admission; unique.
        stage: the current stage.
    """

    lane: Hashable
    payload: Payload
    deadline: float | None
    priority: Priority
    due: float
    work: DecodeWork | None
    decode_seconds: float
    decoder_seconds: float
    run_seconds: float
    admitted_at: float
    order: int
    caller: str = ""
    is_probe: bool = False
    held_until: float = 0.0
    yields_until: float = 0.0
    predicted_at: float | None = None
    stage: Stage = Stage.ADMITTED
    queued_at: float = 0.0
    taken_at: float = 0.0

    def is_before_deadline(self, now: float) -> bool:
        """Whether the deadline is after `now`."""
        return self.deadline is None or now < self.deadline


@dataclass(slots=True, eq=False)
class DecodeTurn(Generic[Payload]):
    """What a decoder takes at once: tickets to decode, most urgent first, and late tickets that were dropped.

    At least one of the two lists is not empty.

    Attributes:
        is_long: whether it is expected to occupy the decoder for long.
    """

    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]
    is_long: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Batch(Generic[Payload]):
    """What a worker takes at once: tickets to run, most urgent first, and late tickets that were dropped.

    At least one of the two lists is not empty.

    Attributes:
        number: sequence number within the queue, from 1.
        lane, device: the lane that the tickets belong to, and the device that runs them.
        concurrent: number of batches that ran on the device when this one was taken.
        taken_at: when it was taken.
        expected_seconds: expected duration of the run.
    """

    number: int
    lane: Hashable
    device: str
    tickets: list[Ticket[Payload]]
    late: list[Ticket[Payload]]
    concurrent: int
    taken_at: float
    expected_seconds: float
