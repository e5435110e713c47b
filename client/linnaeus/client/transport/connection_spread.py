"""Which of a client's connections a call takes; shared by both clients.

A server of several processes deals out connections, not calls: one connection meets one process. Opens no channel and
makes no call by itself.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Opened = TypeVar("Opened")

MAX_CONNECTIONS = 64


def parse_connections(connections: int | str) -> int | None:
    """Returns the number for a client's `connections` argument; None for "auto".

    Raises:
        ValueError: if it is neither "auto" nor a number from 1 to 64.
    """
    if connections == "auto":
        return None
    is_number = isinstance(connections, int) and not isinstance(connections, bool)
    if isinstance(connections, int) and is_number and 1 <= connections <= MAX_CONNECTIONS:
        return connections
    raise ValueError(f'connections must be "auto" or a number from 1 to {MAX_CONNECTIONS}, not {connections!r}')


class ConnectionSpread(Generic[Opened]):
    """The open connections of one client, with the calls in flight on each. Any thread may use it.

    The rule: a call takes the connection with the fewest calls in flight, and of several such the one that was opened
    first; if every one has a call in flight and fewer than `maximum` are open, it opens another one. So a caller with
    one call at a time uses one connection, and connections whose server is slow get fewer calls.

    Args:
        open_connection: opens a connection without waiting for it.
        maximum: how many may be open; None until the server has told, and one may be until then.
    """

    def __init__(self, open_connection: Callable[[], Opened], maximum: int | None) -> None:
        self._open_connection = open_connection
        self._maximum = maximum
        self._lock = threading.Lock()
        self._in_flight: dict[Opened, int] = {}
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._is_closed

    @property
    def maximum(self) -> int | None:
        """How many may be open; None if the server has not told."""
        return self._maximum

    @property
    def must_query(self) -> bool:
        """Whether a call that begins now overlaps another one and it is unknown how many connections may be open."""
        if self._maximum is not None:
            return False
        with self._lock:
            return any(self._in_flight.values())

    def set_server_connections(self, connections: int) -> None:
        """Stores the number that the server told, unless there is one; 0 stands for a server that tells none."""
        if self._maximum is None:
            self._maximum = min(max(connections, 1), MAX_CONNECTIONS)

    def take(self) -> Opened | None:
        """Returns the connection for a call, which ends with `release`; None if the client is closed."""
        with self._lock:
            if self._is_closed:
                return None
            connection = min(self._in_flight, key=self._in_flight.__getitem__, default=None)
            if connection is None or (self._in_flight[connection] and len(self._in_flight) < (self._maximum or 1)):
                connection = self._open_connection()
                self._in_flight[connection] = 0
            self._in_flight[connection] += 1
            return connection

    def release(self, connection: Opened) -> None:
        """Notes that a call has ended."""
        with self._lock:
            self._in_flight[connection] -= 1

    def close(self) -> tuple[Opened, ...]:
        """Ends the opening of connections; returns those that are to be closed."""
        with self._lock:
            self._is_closed = True
            return tuple(self._in_flight)
