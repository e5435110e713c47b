"""Has the front ends decode: turns the decoders' pull from the queue into messages."""

import asyncio
import itertools
import time
from collections import defaultdict
from collections.abc import Callable

from linnaeus.server.engine.core import EngineCore
from linnaeus.server.link.front_end_session import FrontEndSession
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.scheduling import DecodeTurn

_TICK_SECONDS = 0.5
# A front end that holds a turn and has sent nothing for so many ticks stands still, or has a picture that takes long
# and no other callers; then some more may decode at once.
_STILL_TICKS = 2


class RemoteDecoders:
    """The decoders of all front ends, counted for the host. Belongs to the event loop's thread.

    Each front end has as many threads as there are decoders. So many turns are decoded at once, and as many more wait
    in the front ends, so that no thread waits for the next turn to cross the link: that is a fifth more images a second
    on two cores. While a turn that takes long is open, none is given ahead: one behind it would wait long.

    A front end that stands still occupies no decoder: what it was to decode is withdrawn from the queue, see
    `FrontEndSession`, and so is what comes to its turn until it sends something again.

    Args:
        core: has the queue.
        session_of: returns the front end of a request; None if it is gone.
        on_free: called when decoders have become free because a front end stands still.
        clock: the core's clock, in seconds.
    """

    def __init__(
        self,
        core: EngineCore,
        session_of: Callable[[RequestTicket], FrontEndSession | None],
        on_free: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        self._core = core
        self._session_of = session_of
        self._on_free = on_free
        self._clock = clock
        # A front end may still end a turn of an engine that has died: its numbers must not be this engine's.
        self._numbers = itertools.count(time.monotonic_ns())
        self._turns: dict[int, _OpenTurn] = {}
        self._loop = asyncio.get_running_loop()
        self._ticking: asyncio.TimerHandle | None = None

    def pump(self) -> None:
        """Gives the decoders turns, as long as there is something to decode."""
        while self._has_room() and (turn := self._core.queue.next_to_decode_nowait()) is not None:
            for ticket in turn.late:
                self._core.fail(ticket, too_late(ticket, self._clock(), "waited for a decoder"))
            if turn.tickets:
                self._begin(turn)

    def turn_ended(self, number: int, session: FrontEndSession) -> None:
        """Records that a front end has done its part of a turn."""
        turn = self._turns.get(number)
        if turn is None:
            return
        turn.parts.pop(session, None)
        if not turn.parts:
            self._end(number, turn)

    def front_end_lost(self, session: FrontEndSession) -> None:
        """Ends the parts of a front end that is gone."""
        for number in list(self._turns):
            self.turn_ended(number, session)

    def tick(self) -> None:
        """Ends the parts of front ends that stand still.

        Counts calls, not seconds: after a pause of this process there is one, and what came meanwhile is read then.
        """
        for session in {session for turn in self._turns.values() for session in turn.parts}:
            session.silent_ticks += 1
        for number, turn in list(self._turns.items()):
            for session in [each for each in turn.parts if each.silent_ticks > _STILL_TICKS]:
                session.withdraw(turn.parts[session])
                self.turn_ended(number, session)
                self._on_free()
        self._ticking = self._loop.call_later(_TICK_SECONDS, self.tick) if self._turns else None

    def _has_room(self) -> bool:
        may_be_ahead = not any(opened.turn.is_long for opened in self._turns.values())
        return len(self._turns) < self._core.decoders * (1 + may_be_ahead)

    def _begin(self, turn: DecodeTurn[RequestPayload]) -> None:
        parts: dict[FrontEndSession, list[RequestTicket]] = defaultdict(list)
        for ticket in turn.tickets:
            session = self._session_of(ticket)
            if session is not None:
                parts[session].append(ticket)
        number = next(self._numbers)
        for session, tickets in parts.items():
            session.decode(number, tickets)
        for session in [each for each in parts if each.silent_ticks > _STILL_TICKS]:
            session.withdraw(parts.pop(session))
        self._turns[number] = opened = _OpenTurn(turn, parts)
        if not parts:
            self._end(number, opened)
        elif self._ticking is None:
            self._ticking = self._loop.call_later(_TICK_SECONDS, self.tick)

    def _end(self, number: int, turn: "_OpenTurn") -> None:
        del self._turns[number]
        self._core.queue.end_turn(turn.turn)


class _OpenTurn:
    """A turn, and the front ends that still decode for it with their images."""

    def __init__(self, turn: DecodeTurn[RequestPayload], parts: dict[FrontEndSession, list[RequestTicket]]) -> None:
        self.turn = turn
        self.parts = parts
