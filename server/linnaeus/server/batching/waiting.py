"""Tickets in the order in which they are due."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Generic

from linnaeus.server.batching.tickets import Payload, Ticket


class Waiting(Generic[Payload]):
    """Tickets sorted by when they are due, then by admission. Any of them may leave."""

    def __init__(self) -> None:
        # The order is unique, so two tickets are never compared themselves.
        self._entries: list[tuple[float, int, Ticket[Payload]]] = []

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Ticket[Payload]]:
        return (ticket for _, _, ticket in self._entries)

    @property
    def head(self) -> Ticket[Payload]:
        """The most urgent one; there must be one."""
        return self._entries[0][2]

    def add(self, ticket: Ticket[Payload]) -> None:
        """Puts it into its place."""
        insort(self._entries, (ticket.due, ticket.order, ticket))

    def remove(self, ticket: Ticket[Payload]) -> None:
        """Takes it out; it must be there."""
        del self._entries[bisect_left(self._entries, (ticket.due, ticket.order))]

    def ahead_of(self, due: float) -> int:
        """Counts those that go before a newcomer that is due then."""
        return bisect_left(self._entries, (due, float("inf")))
