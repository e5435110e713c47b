"""What the core has just refused as too late, from which a front end knows what else is hopeless."""

from typing import NamedTuple, TypeAlias

from linnaeus.server.errors import DeadlineExceeded
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.refusals import too_late_to_admit
from linnaeus.server.scheduling import DecodeWork, Priority, TooLate

# What the core expects changes with each batch that ends; a later request asks it anew.
_VALID_SECONDS = 0.02
_MAX_KINDS = 1_000

# A request's version, priority, caller, and the kind of its image, None for pixels.
_Kind: TypeAlias = tuple[LaneKey, Priority, str, str | None]


class _Refusal(NamedTuple):
    """The deadline and the pixels to decode of what was refused; when it would have been answered; until when it holds.

    Times are seconds on the core's clock.
    """

    deadline: float
    pixels: int
    answer_at: float
    valid_until: float


class RecentRefusals:
    """Refuses a request that asks for no less than one that the core refused within the last 20 ms.

    It asks for no less if version, priority, caller and the kind of image are the same, if its image is no smaller,
    and if its deadline is no earlier (the core would not prefer it), but before the answer that the core expected.

    Belongs to the event loop's thread.
    """

    def __init__(self) -> None:
        self._refusals: dict[_Kind, _Refusal] = {}

    def __len__(self) -> int:
        """Number of refusals that are kept."""
        return len(self._refusals)

    def note(
        self,
        lane: LaneKey,
        deadline: float,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
        error: DeadlineExceeded,
        now: float,
    ) -> None:
        """Notes that the core did not admit a request."""
        if len(self._refusals) >= _MAX_KINDS:
            self._refusals.clear()
        pixels = 0 if work is None else work.pixels
        refusal = _Refusal(deadline, pixels, now + error.wait_seconds, now + _VALID_SECONDS)
        self._refusals[lane, priority, caller, work and work.kind] = refusal

    def check(
        self,
        lane: LaneKey,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
        now: float,
    ) -> None:
        """Lets a request pass unless it is hopeless.

        Raises:
            DeadlineExceeded: if it is, with the answer's time that the core expected.
        """
        kind = (lane, priority, caller, work and work.kind)
        refusal = self._refusals.get(kind)
        if refusal is None or deadline is None:
            return
        if now >= refusal.valid_until:
            del self._refusals[kind]
        elif refusal.deadline <= deadline < refusal.answer_at and refusal.pixels <= (work.pixels if work else 0):
            raise too_late_to_admit(lane.model, TooLate(refusal.answer_at - now, deadline - now))
