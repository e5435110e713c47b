"""The virtual time of start-time fair queueing."""

from collections.abc import Iterable
from typing import Generic

from linnaeus.server.scheduling.lanes import Flow
from linnaeus.server.scheduling.tickets import Payload


class FairTime(Generic[Payload]):
    """The least weighted use (device seconds divided by weight) of any active flow. It never decreases.

    Guarded by the queue's lock.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def catch_up(self, flow: Flow[Payload]) -> None:
        """Raises the use of a flow that becomes active to the virtual time, so that an idle flow earns no credit."""
        if not flow.is_active:
            flow.used = max(flow.used, self._now)

    def advance(self, active: Iterable[Flow[Payload]]) -> None:
        """Advances the virtual time after a batch has run.

        Args:
            active: the flows that were active when the batch ended; at least one.
        """
        self._now = max(self._now, min(flow.used for flow in active))
