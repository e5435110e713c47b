"""Tickets in the order in which they are due."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import inf
from typing import Generic

from linnaeus.server.scheduling.tickets import Payload, Ticket


class DeadlineQueue(Generic[Payload]):
    """Tickets sorted by when they are due, then by admission. Any of them may leave.

    Attributes:
        entries: when each is due, its order and itself, sorted; whoever only counts them asks here, as that costs no
            call. The order is unique, so two tickets are never compared themselves.
    """

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, Ticket[Payload]]] = []

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Ticket[Payload]]:
        return (ticket for _, _, ticket in self.entries)

    @property
    def head(self) -> Ticket[Payload]:
        """The most urgent one; there must be one."""
        return self.entries[0][2]

    def add(self, ticket: Ticket[Payload]) -> None:
        """Puts it into its place."""
        insort(self.entries, (ticket.due, ticket.order, ticket))

    def remove(self, ticket: Ticket[Payload]) -> None:
        """Takes it out; it must be there."""
        del self.entries[bisect_left(self.entries, (ticket.due, ticket.order))]

    def ahead_of(self, due: float) -> int:
        """Counts those that go before a candidate that is due then."""
        return bisect_left(self.entries, (due, inf)) if self.entries else 0
