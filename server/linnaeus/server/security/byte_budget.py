"""The bytes of request messages that a server holds at once, in all and for each caller. Independent of gRPC.

A message's length is known only once it was received, so a call that waits for a message holds the largest that there
may be. When the message has come, the call holds its length, until it is answered.

A call that finds no room waits for it, for a bounded time, and is then refused. Most messages come with their call, so
room is mostly free again within a millisecond. Where it is not, the calls that have waited longest for a message give
way: the ones of the caller itself if its own share is used up, else those of the caller that waits for the most
messages. So callers that begin messages and never end them keep nobody out.
"""

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from linnaeus.server.errors import Overloaded
from linnaeus.server.process.freed_memory import FreedMemory

_RETRY_SECONDS = 1.0
# The allocator keeps what such a message took, which is given back once no other has come for a while.
_MUCH_BYTES = 4 << 20
# Time until a call that still waits ends another one: what the first one held may have gone to a caller before it.
_NEXT_SECONDS = 0.05


class Reservation:
    """The bytes that one message holds. Belongs to the event loop's thread.

    Attributes:
        held_bytes: the bytes; 0 once released.
        was_ended: whether the call that waits for the message had to give way to others.
    """

    __slots__ = ("_account", "_budget", "held_bytes", "started_at", "task", "was_ended")

    def __init__(self, budget: "ByteBudget", account: "_Account", task: "asyncio.Task[object] | None") -> None:
        self._budget = budget
        self._account = account
        self.held_bytes = budget.message_bytes
        self.was_ended = False
        self.started_at = budget.clock()
        self.task = task

    def received(self, length: int) -> None:
        """Holds only the length of the message, which has come."""
        self._account.reading.pop(self, None)
        freed_bytes = self.held_bytes - length
        if freed_bytes > 0:
            self.held_bytes = length
            self._budget.free(self._account, freed_bytes)

    def release(self) -> None:
        """Holds nothing any more; may be called again."""
        if self.held_bytes >= _MUCH_BYTES:
            self._budget.freed_memory.note()
        self.received(0)

    def end(self) -> None:
        """Ends the waiting for the message: its task gets a cancellation, and `raise_if_ended` tells why."""
        self._account.reading.pop(self, None)
        self.was_ended = True
        if self.task is not None:
            self.task.cancel()

    def raise_if_ended(self) -> None:
        """Called when the waiting task was cancelled.

        Raises:
            Overloaded: if the call gives way to others, and nothing else has cancelled its task.
        """
        if self.was_ended and self.task is not None and self.task.uncancel() == 0:
            seconds = self._budget.clock() - self.started_at
            raise Overloaded(
                f"no message came within {seconds:.1f} s, and other calls need the memory that was kept for it; "
                "send the whole message at once",
                _RETRY_SECONDS,
            )


class _Account:
    """What one caller holds and waits for."""

    __slots__ = ("caller", "held_bytes", "reading", "waiting")

    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.held_bytes = 0
        self.reading: dict[Reservation, None] = {}  # the oldest first
        self.waiting: deque[asyncio.Future[Reservation]] = deque()


class ByteBudget:
    """A budget of bytes, shared by callers.

    Invariants:
        - all reservations together hold at most `total_bytes`, and those of one caller at most `caller_bytes`;
        - callers that wait get room in turns, and the calls of one caller in their order;
        - a call waits at most `patience_seconds`;
        - a call that has waited `grace_seconds` for its message is ended as soon as another call needs the room.

    Belongs to the event loop's thread.

    Args:
        message_bytes: the largest message.
        total_bytes: the budget; at least `message_bytes`.
        caller_bytes: the share of one caller; at least `message_bytes`.
        grace_seconds: how long a call may wait for its message while others wait for room.
        patience_seconds: how long a call waits for room.
        clock: monotonic, in seconds.
        freed_memory: gives the memory of large messages back.

    Attributes:
        held_bytes: the bytes of all reservations.
        message_bytes, total_bytes, caller_bytes: as given.

    Raises:
        ValueError: if not even one message fits into the budget or the share.
    """

    def __init__(
        self,
        message_bytes: int,
        total_bytes: int,
        caller_bytes: int,
        grace_seconds: float = 1.0,
        patience_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        freed_memory: FreedMemory | None = None,
    ) -> None:
        if min(total_bytes, caller_bytes) < message_bytes:
            raise ValueError(f"a message of {message_bytes} bytes must fit into {total_bytes} and {caller_bytes} bytes")
        self.message_bytes = message_bytes
        self.held_bytes = 0
        self.clock = clock
        self.freed_memory = freed_memory or FreedMemory()
        self.total_bytes = total_bytes
        self.caller_bytes = caller_bytes
        self._grace_seconds = grace_seconds
        self._patience_seconds = patience_seconds
        self._accounts: dict[str, _Account] = {}
        self._next: OrderedDict[_Account, None] = OrderedDict()  # those that wait for nothing but the total

    def reserve_at_once(self, caller: str) -> Reservation | None:
        """Reserves the largest message for the current task, which is to wait for it; None if it must wait for room."""
        account = self._account(caller)
        if account.waiting or self._next or not self._has_room(account):
            return None
        return self._grant(account, asyncio.current_task())

    async def reserve(self, caller: str) -> Reservation:
        """Reserves the same, and waits for room.

        Raises:
            Overloaded: if there was no room for too long.
        """
        if (reservation := self.reserve_at_once(caller)) is None:
            reservation = await self._wait(self._account(caller))
            reservation.task = asyncio.current_task()
        return reservation

    def _account(self, caller: str) -> _Account:
        account = self._accounts.get(caller)
        if account is None:
            account = self._accounts[caller] = _Account(caller)
        return account

    def free(self, account: _Account, freed_bytes: int) -> None:
        """Takes bytes back, and gives them to calls that wait; called by reservations."""
        self.held_bytes -= freed_bytes
        account.held_bytes -= freed_bytes
        if account.waiting:
            self._queue(account)
        elif not account.held_bytes:
            self._accounts.pop(account.caller, None)
        if self._next:
            self._give_out()

    def _has_room(self, account: _Account) -> bool:
        return (
            self.held_bytes + self.message_bytes <= self.total_bytes
            and account.held_bytes + self.message_bytes <= self.caller_bytes
        )

    def _grant(self, account: _Account, task: "asyncio.Task[object] | None" = None) -> Reservation:
        reservation = Reservation(self, account, task)
        account.reading[reservation] = None
        account.held_bytes += self.message_bytes
        self.held_bytes += self.message_bytes
        return reservation

    async def _wait(self, account: _Account) -> Reservation:
        """Waits for room; makes it where calls have waited long enough for their messages."""
        waiter: asyncio.Future[Reservation] = asyncio.get_running_loop().create_future()
        account.waiting.append(waiter)
        self._queue(account)
        until = self.clock() + self._patience_seconds
        try:
            while not waiter.done() and (left := until - self.clock()) > 0:
                await asyncio.wait({waiter}, timeout=min(self._make_room(account), left))
        except asyncio.CancelledError:
            self._withdraw(account, waiter)
            raise
        if waiter.done():
            return waiter.result()
        self._withdraw(account, waiter)
        raise Overloaded(
            "the server holds as many bytes of messages as it may, in all or of this caller; try again later",
            _RETRY_SECONDS,
        )

    def _withdraw(self, account: _Account, waiter: "asyncio.Future[Reservation]") -> None:
        if waiter.done():
            waiter.result().release()
            return
        account.waiting.remove(waiter)
        if not account.waiting:
            self._next.pop(account, None)
            if not account.held_bytes:
                self._accounts.pop(account.caller, None)

    def _queue(self, account: _Account) -> None:
        """Lets a caller take its turn, unless its own share is used up."""
        if account.held_bytes + self.message_bytes <= self.caller_bytes:
            self._next[account] = None

    def _give_out(self) -> None:
        """Gives room to one call of each waiting caller in turn, for as long as there is room."""
        while self._next and self.held_bytes + self.message_bytes <= self.total_bytes:
            account, _ = self._next.popitem(last=False)
            account.waiting.popleft().set_result(self._grant(account))
            if account.waiting:
                self._queue(account)

    def _make_room(self, account: _Account) -> float:
        """Ends one call that has waited too long for its message; returns the seconds until another may be ended."""
        blocking = account if account not in self._next else self._largest_reader()
        oldest = next(iter(blocking.reading), None)
        if oldest is None:
            return self._patience_seconds
        if oldest.started_at + self._grace_seconds <= self.clock():
            oldest.end()
            return _NEXT_SECONDS
        return oldest.started_at + self._grace_seconds - self.clock()

    def _largest_reader(self) -> _Account:
        return max(self._accounts.values(), key=lambda account: len(account.reading))
