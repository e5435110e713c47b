"""Calls and their outcomes, and what one caller's calls are like."""

from dataclasses import dataclass

from linnaeus.server.scheduling import UNKNOWN_WORK, DecodeWork, Priority, Ticket

ANSWERED, EXPIRED, DROPPED = "answered", "expired", "dropped"


@dataclass(eq=False, slots=True)
class Call:
    """A call and its outcome.

    Attributes:
        sent_at, deadline, ended_at: times of the simulation's clock, in seconds.
        work: what the image's header says; None if the call carries pixels.
        decode_seconds: how long decoding takes in truth.
        outcome: empty until it has ended; then "answered", "expired", "dropped", or the name of the refusal.
        wait_seconds: how long a full queue asks the caller to wait; None if it did not refuse the call.
        ticket: of the attempt that was admitted last.
        sends: how often it was sent.
        balancer, replica: the numbers of the balancer that it goes through, and of the replica that had it last.
    """

    model: str
    sent_at: float
    deadline: float | None
    priority: Priority = Priority.NORMAL
    caller: str = ""
    work: DecodeWork | None = UNKNOWN_WORK
    decode_seconds: float = 0.0
    outcome: str = ""
    ended_at: float = 0.0
    wait_seconds: float | None = None
    ticket: Ticket["Call"] | None = None
    sends: int = 1
    balancer: int = -1
    replica: int = -1

    @property
    def in_time(self) -> bool:
        """Whether it was answered before its deadline."""
        return self.outcome == ANSWERED and (self.deadline is None or self.ended_at <= self.deadline)


@dataclass(frozen=True)
class Sender:
    """How one caller's requests are.

    Attributes:
        name: the caller's identity.
        timeout: seconds until the deadline; None for none.
        patience: seconds after which it cancels; None if it waits.
        work: what its images' headers say; None for what the model's images are like.
        decode_seconds: how long decoding them takes in truth.
    """

    name: str = ""
    timeout: float | None = None
    priority: Priority = Priority.NORMAL
    patience: float | None = None
    work: DecodeWork | None = None
    decode_seconds: float = 0.0
