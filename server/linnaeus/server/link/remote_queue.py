"""The queue of the core, as the requests and the decoders of a front end see it."""

import queue
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy

from linnaeus.server.link.messages import Admit, Cancel, Decoded, GiveBack, Message, TurnEnded
from linnaeus.server.link.pixel_memory import PixelWriter, Slot
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.scheduling import DecodeTurn, DecodeWork, Priority, Stage, Ticket

# Copying less into the message costs less than a place in the shared memory.
_SMALL_BYTES = 16 << 10


class RemoteQueue:
    """Implements `RequestQueue`. Tickets are copies of the core's: their stages are what this front end knows.

    Small pixels travel in the message, others in shared memory, or in the message if the memory is full. A slot is
    freed when its request ends here. A batch may then still read it; the core discards the answer to such a request.

    `admit`, `tickets` and `decode` belong to the event loop's thread; any thread may call the other methods.

    Args:
        clock: the core's clock, in seconds.
        send: sends a message on the event loop's thread.
        send_from_thread: sends messages from any thread.

    Attributes:
        tickets: the requests in the core, by number.
        memory: the memory for pixels, which the core reads.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        send: Callable[[Message], None],
        send_from_thread: Callable[[Sequence[Message]], None],
    ) -> None:
        self.tickets: dict[int, RequestTicket] = {}
        self.memory = PixelWriter()
        self._slots: dict[int, Slot] = {}
        self._clock = clock
        self._send = send
        self._send_from_thread = send_from_thread
        self._turns: queue.SimpleQueue[_RemoteTurn | None] = queue.SimpleQueue()

    def admit(
        self,
        lane: LaneKey,
        payload: RequestPayload,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
    ) -> RequestTicket:
        """Sends a request to the core, which may refuse it later."""
        now = self._clock()
        due = now if deadline is None else deadline
        ticket: RequestTicket = Ticket(
            lane, payload, deadline, priority, due, work, 0.0, 0.0, 0.0, now, payload.number, caller
        )
        self.tickets[payload.number] = ticket
        pixels = None if payload.pixels is None else self._sendable(payload.number, payload.pixels)
        if pixels is not None:
            ticket.stage, ticket.queued_at = Stage.QUEUED, now
        self._send(
            Admit(
                payload.number,
                lane,
                deadline,
                priority,
                work,
                caller,
                payload.top_k,
                payload.min_probability,
                payload.want_features,
                pixels,
            )
        )
        return ticket

    def decode(self, turn: int, numbers: Sequence[int]) -> None:
        """Gives a decoder the images that the core wants decoded now."""
        tickets = [self.tickets[number] for number in numbers if number in self.tickets]
        for ticket in tickets:
            ticket.stage = Stage.DECODING
        self._turns.put(_RemoteTurn(tickets, turn))

    def next_to_decode(self, finished: DecodeTurn[RequestPayload] | None = None) -> DecodeTurn[RequestPayload] | None:
        """Blocks until the core wants images decoded; None after `close`."""
        if isinstance(finished, _RemoteTurn):
            self._send_from_thread([TurnEnded(finished.number)])
        turn = self._turns.get()
        if turn is None:
            self._turns.put(None)  # the other decoders must return, too
        return turn

    def put(self, decoded: Mapping[RequestTicket, float]) -> list[RequestTicket]:
        """Sends decoded images to the core."""
        messages = list[Message]()
        for ticket, seconds in decoded.items():
            payload, pixels = ticket.payload, ticket.payload.content
            if ticket.stage is Stage.DECODING:
                ticket.stage, ticket.queued_at = Stage.QUEUED, self._clock()
                sendable = self._sendable(payload.number, pixels)
                messages.append(Decoded(payload.number, seconds, payload.decode_seconds, sendable))
            payload.pixels = None
        self._send_from_thread(messages)
        return []

    def give_back(self, tickets: Iterable[RequestTicket]) -> list[RequestTicket]:
        """Returns images that were not begun to the core."""
        given_back = [ticket for ticket in tickets if ticket.stage is Stage.DECODING]
        for ticket in given_back:
            ticket.stage = Stage.ADMITTED
        self._send_from_thread([GiveBack([ticket.payload.number for ticket in given_back])])
        return []

    def cancel(self, ticket: RequestTicket, by_caller: bool = True) -> Stage:
        """Ends a request here, and tells the core."""
        stage, ticket.stage = ticket.stage, Stage.ENDED
        message = Cancel(ticket.payload.number, by_caller)
        if self.end(message.number) is None:
            return stage
        if by_caller:  # on the event loop's thread
            self._send(message)
        else:
            self._send_from_thread([message])
        return stage

    def end(self, number: int) -> RequestTicket | None:
        """Forgets a request and frees its memory; returns its ticket, None if it had ended before. Any thread."""
        slot = self._slots.pop(number, None)
        if slot is not None:
            self.memory.free(slot)
        return self.tickets.pop(number, None)

    def _sendable(self, number: int, pixels: Pixels) -> bytes | Slot:
        if pixels.nbytes < _SMALL_BYTES:
            return pixels.tobytes()
        slot = self.memory.write(numpy.ascontiguousarray(pixels))
        if slot is None:  # the memory is full
            return pixels.tobytes()
        self._slots[number] = slot
        if number not in self.tickets:  # it was cancelled meanwhile
            self.end(number)
        return slot

    def close(self) -> None:
        """Ends the decoders."""
        self._turns.put(None)


class _RemoteTurn(DecodeTurn[RequestPayload]):
    """This front end's part of a turn, with the number that the core knows it by."""

    __slots__ = ("number",)

    def __init__(self, tickets: list[RequestTicket], number: int) -> None:
        super().__init__(tickets, [])
        self.number = number
