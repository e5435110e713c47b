"""A queue of tickets, earliest due time first."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from math import inf
from typing import Generic

from linnaeus.server.scheduling.tickets import Payload, Ticket


class DeadlineQueue(Generic[Payload]):
    """Tickets sorted by due time, then by order of admission. Any ticket can be removed.

    Attributes:
        entries: (due, order, ticket), sorted. Callers that only count use it directly, which saves a call. The order is
            unique, so tickets themselves are never compared.
        decode_seconds: processor seconds that decoding all of them is expected to take.
    """

    __slots__ = ("decode_seconds", "entries")

    def __init__(self) -> None:
        self.entries: list[tuple[float, int, Ticket[Payload]]] = []
        self.decode_seconds = 0.0

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Ticket[Payload]]:
        return (ticket for _, _, ticket in self.entries)

    @property
    def head(self) -> Ticket[Payload]:
        """The most urgent ticket; the queue must not be empty."""
        return self.entries[0][2]

    def add(self, ticket: Ticket[Payload]) -> None:
        """Inserts a ticket."""
        insort(self.entries, (ticket.due, ticket.order, ticket))
        self.decode_seconds += ticket.decode_seconds

    def remove(self, ticket: Ticket[Payload]) -> None:
        """Removes a ticket, which must be in the queue."""
        del self.entries[bisect_left(self.entries, (ticket.due, ticket.order))]
        self.decode_seconds = self.decode_seconds - ticket.decode_seconds if self.entries else 0.0

    def count_before(self, due: float) -> int:
        """Returns the number of tickets that precede a candidate with this due time."""
        if not self.entries or self.entries[-1][0] <= due:  # nearly always, as most arrivals are due last
            return len(self.entries)
        return bisect_left(self.entries, (due, inf))

    def decode_seconds_before(self, due: float) -> float:
        """Returns the part of `decode_seconds` of the tickets that precede a candidate with this due time."""
        if not self.decode_seconds:  # pixels need no decoding
            return 0.0
        count = self.count_before(due)
        if count == len(self.entries):
            return self.decode_seconds
        if count <= len(self.entries) // 2:
            return sum([ticket.decode_seconds for _, _, ticket in self.entries[:count]])
        return self.decode_seconds - sum([ticket.decode_seconds for _, _, ticket in self.entries[count:]])
