"""What became of a request, for those who follow some of them: when it was where, and in which run.

Knows neither spans nor logs, and holds nothing of a picture but its size. Where nobody follows, nothing here is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from linnaeus.server.scheduling import Priority


@dataclass(slots=True, eq=False)
class Run:
    """One batch on a device, as all its requests share it. Times are the engine clock's.

    Attributes:
        number: counts the batches.
        model, version, device: whose it was, and who ran it.
        size: images in it.
        taken_at: when the device took it.
        finished_at: when the device was done; 0.0 before.
        succeeded: whether it ran without a failure of ours.
    """

    number: int
    model: str
    version: int
    device: str
    size: int
    taken_at: float
    finished_at: float = 0.0
    succeeded: bool = False


class Stage(NamedTuple):
    """One part of a journey."""

    name: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class Journey:
    """A request that is over. Times are the engine clock's.

    Attributes:
        number: counts the engine's requests.
        model, version: that were meant; empty and 0 if there is none such.
        outcome: `answered`, `cancelled` if its caller left, else why there is no answer, in a word.
        priority: of the request.
        image_bytes: the picture's size as it came.
        timeout_seconds: how long it could have taken; None for any time.
        came_at, ended_at: the first and the last moment.
        decode_seconds: how long decoding took.
        decoded_at: when that was done; 0.0 if it never was.
        run: that it was part of; None if it never was.
    """

    number: int
    model: str
    version: int
    outcome: str
    priority: Priority
    image_bytes: int
    timeout_seconds: float | None
    came_at: float
    ended_at: float
    decode_seconds: float = 0.0
    decoded_at: float = 0.0
    run: Run | None = None

    def stages(self) -> Iterator[Stage]:
        """Its stages in order, each beginning where the one before ended.

        They are `decoder_queue`, `decode`, `queue` (for a device) and `inference`. The last one is cut where the
        request ended; a request whose picture was never decoded has none.
        """
        if not self.decoded_at:
            return
        decode_began_at = max(self.decoded_at - self.decode_seconds, self.came_at)
        yield Stage("decoder_queue", self.came_at, decode_began_at)
        yield Stage("decode", decode_began_at, self.decoded_at)
        if self.run is None:
            yield Stage("queue", self.decoded_at, self.ended_at)
            return
        yield Stage("queue", self.decoded_at, self.run.taken_at)
        done_at = self.run.finished_at or self.ended_at  # a caller who left may have been faster than the device
        yield Stage("inference", self.run.taken_at, min(done_at, self.ended_at))


class Follower(Protocol):
    """Follows some of the requests. Called on the event loop's thread; must not raise or block."""

    def meet(self, number: int) -> object | None:
        """A request came, in the task of its call. Whatever is returned comes back at its end; None: not followed."""

    def ended(self, mark: object, journey: Journey) -> None:
        """A request that is followed is over; `mark` is what `meet` returned."""

    def ran(self, run: Run) -> None:
        """A run is over, as are all its requests, unless a device that was lost gave them back."""


class Followers:
    """Several followers that follow the same engine."""

    def __init__(self, *followers: Follower) -> None:
        self._followers = followers

    def meet(self, number: int) -> object | None:
        """A request came."""
        marks = [follower.meet(number) for follower in self._followers]
        return None if all(mark is None for mark in marks) else marks

    def ended(self, mark: object, journey: Journey) -> None:
        """A request that is followed is over."""
        if isinstance(mark, list):
            for follower, own in zip(self._followers, mark, strict=True):
                if own is not None:
                    follower.ended(own, journey)

    def ran(self, run: Run) -> None:
        """A run is over."""
        for follower in self._followers:
            follower.ran(run)
