"""How much of the decoders and of the devices each caller used lately and waits for, and how far above its share."""

from dataclasses import dataclass
from math import inf

from linnaeus.server.scheduling.fair_shares import Demand, FairShares
from linnaeus.server.scheduling.tickets import Payload, Ticket

# Use is forgotten with this half-life.
_HALF_LIFE_SECONDS = 1.0
_UPDATE_SECONDS = 0.05
# A caller that used less and has nothing waiting is forgotten, so that at most a few thousand are known.
_MIN_USE_SECONDS = 1e-3


@dataclass(slots=True)
class _Use:
    """Seconds of all decoders and of a device: used, as of `CallerUse._as_of`, and expected of the waiting tickets."""

    weight: float = 0.0
    tickets: int = 0
    decoded: float = 0.0
    to_decode: float = 0.0
    ran: float = 0.0
    to_run: float = 0.0


class CallerUse:
    """What each caller used lately, which decays, and what its waiting tickets are expected to use.

    What waits counts, too, so that a flood is known when it comes and not when it has been served. Decoders and devices
    count separately: a caller that occupies the decoders is not within its share because the devices are free.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        # All decay alike, so only the scale changes with time.
        self._callers: dict[str, _Use] = {}
        self._decoders = FairShares()
        self._devices = FairShares()
        self._as_of = -inf

    def excess_seconds(self, caller: str, weight: float, now: float) -> float:
        """Returns how much time its share needs for what the caller used and waits for above it; 0 if it is within.

        Args:
            caller: the caller; one who is alone is never above its share.
            weight: its share is in proportion to it.
            now: time of the clock, in seconds.
        """
        self._bring_up_to_date(now)
        use = self._callers.get(caller)
        if use is None or len(self._callers) == 1:
            return 0.0
        kept = _kept(now - self._as_of)
        of_decoders = self._decoders.excess_seconds(use.decoded * kept + use.to_decode, weight, kept)
        of_devices = self._devices.excess_seconds(use.ran * kept + use.to_run, weight, kept)
        return max(of_decoders, of_devices)

    def begin_waiting(self, ticket: Ticket[Payload], weight: float) -> None:
        """Counts a ticket that now waits.

        Args:
            ticket: the ticket.
            weight: the weight of its caller from now on.
        """
        use = self._use(ticket.caller)
        use.weight = weight
        use.tickets += 1
        use.to_decode += ticket.decoder_seconds
        use.to_run += ticket.run_seconds

    def end_waiting(self, ticket: Ticket[Payload]) -> None:
        """Counts a ticket that no longer waits."""
        use = self._callers[ticket.caller]
        use.tickets -= 1
        use.to_decode -= ticket.decoder_seconds
        use.to_run -= ticket.run_seconds
        if not use.tickets:
            use.to_decode = use.to_run = 0.0  # no rounding errors remain

    def record_decoding(self, caller: str, seconds: float, now: float) -> None:
        """Records that a caller's image occupied all decoders for `seconds`."""
        self._bring_up_to_date(now)
        self._use(caller).decoded += seconds
        self._decoders.used += seconds

    def record_run(self, caller: str, seconds: float, now: float) -> None:
        """Records that a caller's image occupied a device for `seconds`."""
        self._bring_up_to_date(now)
        self._use(caller).ran += seconds
        self._devices.used += seconds

    def _use(self, caller: str) -> _Use:
        use = self._callers.get(caller)
        if use is None:
            use = self._callers[caller] = _Use()
        return use

    def _bring_up_to_date(self, now: float) -> None:
        """Lets what was used decay, forgets callers that used hardly any, and shares out anew; 20 times a second."""
        if now - self._as_of < _UPDATE_SECONDS:
            return
        kept = _kept(now - self._as_of)
        for use in self._callers.values():
            use.decoded *= kept
            use.ran *= kept
        callers = self._callers.items()
        self._callers = {name: use for name, use in callers if use.tickets or use.decoded + use.ran >= _MIN_USE_SECONDS}
        uses = self._callers.values()
        self._decoders.share_out([Demand(use.decoded, use.decoded + use.to_decode, use.weight) for use in uses])
        self._devices.share_out([Demand(use.ran, use.ran + use.to_run, use.weight) for use in uses])
        self._as_of = now


def _kept(seconds: float) -> float:
    return float(0.5 ** (seconds / _HALF_LIFE_SECONDS))
