"""The virtual time of the flows' fair shares, as in start-time fair queueing."""

from collections.abc import Iterable
from typing import Generic

from linnaeus.server.scheduling.lanes import Flow
from linnaeus.server.scheduling.tickets import Payload


class FairTime(Generic[Payload]):
    """The device seconds over weight that the active flow with the least use has had; it never goes back.

    Belongs to the queue's lock.
    """

    def __init__(self) -> None:
        self._now = 0.0

    def catch_up(self, flow: Flow[Payload]) -> None:
        """Levels a flow that becomes active with the others: no credit for a rest, no debt for a time alone."""
        if not flow.is_active:
            flow.used = max(flow.used, self._now)

    def advance(self, active: Iterable[Flow[Payload]]) -> None:
        """Moves on after a batch has run.

        Args:
            active: the flows that were active when it ended, at least one.
        """
        self._now = max(self._now, min(flow.used for flow in active))
