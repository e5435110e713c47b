"""The queue as decoders see it: they need not know whether it is in this process or in another one."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import DecodeTurn, Stage


class RequestQueue(Protocol):
    """The part of the batch queue that decoders use; see `BatchQueue`. Any thread may call it."""

    def cancel(self, ticket: RequestTicket, by_caller: bool = True) -> Stage:
        """Cancels a ticket; returns the stage that it was at."""

    def next_to_decode(self, finished: DecodeTurn[RequestPayload] | None = None) -> DecodeTurn[RequestPayload] | None:
        """Blocks until there is something to decode; None once nothing more will come."""

    def put(self, decoded: Mapping[RequestTicket, float]) -> list[RequestTicket]:
        """Queues decoded tickets for the devices; returns those that no device is left for."""

    def give_back(self, tickets: Iterable[RequestTicket]) -> list[RequestTicket]:
        """Returns tickets that were not begun; returns those that no device is left for."""
