"""The queue as callers and decoders see it: they need not know whether it is in this process or in another one."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Protocol

from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import DecodeTurn, DecodeWork, Priority, Stage


class RequestQueue(Protocol):
    """The part of the batch queue that callers and decoders use; see `BatchQueue`.

    A remote queue admits every request, and later completes the future of one that is refused.
    """

    def admit(
        self,
        lane: Hashable,
        payload: RequestPayload,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
    ) -> RequestTicket:
        """Admits a request before any work is done for it. Event loop's thread only."""

    def cancel(self, ticket: RequestTicket, by_caller: bool = True) -> Stage:
        """Cancels a ticket; returns the stage that it was at."""

    def next_to_decode(self, finished: DecodeTurn[RequestPayload] | None = None) -> DecodeTurn[RequestPayload] | None:
        """Blocks until there is something to decode; None once nothing more will come."""

    def put(self, decoded: Mapping[RequestTicket, float]) -> list[RequestTicket]:
        """Queues decoded tickets for the devices; returns those that no device is left for."""

    def give_back(self, tickets: Iterable[RequestTicket]) -> list[RequestTicket]:
        """Returns tickets that were not begun; returns those that no device is left for."""
