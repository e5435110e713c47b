"""One turn of a decoder: decodes several small images and hands them on as they are ready.

This module must not know threads, callers or gRPC.
"""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from linnaeus.server.errors import RequestError
from linnaeus.server.requests.refusals import no_device, too_late
from linnaeus.server.requests.request import RequestPayload, RequestTicket, lane_key_of
from linnaeus.server.requests.request_queue import RequestQueue
from linnaeus.server.scheduling import DecodeTurn, Stage

# Decoded images are handed on together, which shares the lock and the wake-up of a worker, but none waits longer than
# this for images behind it. Half a millisecond was tried: on slow cores every image was handed on by itself, batches
# became smaller, and `lenet` lost a tenth of its throughput.
_HAND_ON_SECONDS = 0.002
# After an image that took longer than this, the rest of the turn goes back to the queue: a turn is made of images that
# were expected to take half a millisecond together, so the next may be as slow, and other decoders may be idle.
_SLOW_SECONDS = 0.004

# Decodes into a payload; returns the processor time in seconds, or the error that its caller gets. Does not raise.
Decode: TypeAlias = Callable[[RequestPayload], float | RequestError]


class DecoderTurn:
    """The tickets that a decoder took at once. Belongs to the decoder's thread.

    Tickets that ended meanwhile are not decoded, nor those whose deadline passed. After a slow image, the tickets that
    were not begun go back to the queue.

    Args:
        taken: the tickets.
        queue: source and destination of the tickets.
        decode: decodes one image.
        fail: receives a ticket that will not reach a device, and its error; does not raise.
        clock: the queue's clock, in seconds.
    """

    def __init__(
        self,
        taken: DecodeTurn[RequestPayload],
        queue: RequestQueue,
        decode: Decode,
        fail: Callable[[RequestTicket, RequestError], None],
        clock: Callable[[], float],
    ) -> None:
        self._late = deque(taken.late)
        self._rest = deque(taken.tickets)
        self._ready: dict[RequestTicket, float] = {}
        self._queue = queue
        self._decode = decode
        self._fail = fail
        self._clock = clock

    def run(self) -> None:
        """Decodes the tickets and hands them on; a fault of the queue leaves tickets in `unfinished`."""
        now = handed_on = self._clock()
        while self._late:
            self._fail_late(self._late.popleft(), now)
        while self._rest:
            began = now
            self._decode_next(now)
            now = self._clock()
            is_slow = now - began > _SLOW_SECONDS
            if now - handed_on > _HAND_ON_SECONDS:
                self._hand_on()
                now = handed_on = self._clock()
            if is_slow:
                self._give_back()
        self._hand_on()

    def unfinished(self) -> list[RequestTicket]:
        """Returns the tickets that have not left the turn: after a fault their requests have no answer yet."""
        return [*self._late, *self._ready, *self._rest]

    def _decode_next(self, now: float) -> None:
        ticket = self._rest.popleft()
        if ticket.stage is Stage.ENDED:
            return  # its caller left, or its deadline passed
        if not ticket.is_before_deadline(now):
            return self._fail_late(ticket, now)
        decoded = self._decode(ticket.payload)
        if isinstance(decoded, RequestError):
            self._fail(ticket, decoded)
        else:
            self._ready[ticket] = decoded

    def _hand_on(self) -> None:
        if not self._ready:
            return
        stranded = self._queue.put(self._ready)
        self._ready = {}
        self._fail_stranded(stranded)

    def _give_back(self) -> None:
        if self._rest:
            stranded = self._queue.give_back(self._rest)
            self._rest.clear()
            self._fail_stranded(stranded)

    def _fail_stranded(self, tickets: list[RequestTicket]) -> None:
        for ticket in tickets:
            self._fail(ticket, no_device(lane_key_of(ticket)[0]))

    def _fail_late(self, ticket: RequestTicket, now: float) -> None:
        self._fail(ticket, too_late(ticket, now, "waited for a decoder"))
