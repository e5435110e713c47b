"""One front end, as the core sees it: its requests and its part of the decoding."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy

from linnaeus.server.engine.core import EngineCore
from linnaeus.server.errors import RequestError
from linnaeus.server.link.connection import Connection
from linnaeus.server.link.messages import (
    Admit,
    Answer,
    BatchTimes,
    Cancel,
    Decode,
    Decoded,
    Expire,
    GiveBack,
    Message,
    Refused,
    ToCore,
)
from linnaeus.server.link.packed_errors import pack_error
from linnaeus.server.link.pixel_memory import PixelReader, Slot
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.refusals import too_late, unloaded
from linnaeus.server.requests.request import RequestPayload, RequestTicket, TimedRanking, lane_key_of
from linnaeus.server.requests.request_record import BatchRecord
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.scheduling import DecodeWork, Priority, Stage


class FrontEndSession:
    """The requests of one front end. Belongs to the event loop's thread.

    Images that a front end is to decode, but does not as it stands still, are withdrawn: they leave the queue, so that
    they take no place from others, and are admitted anew when the front end has decoded them.

    Args:
        core: runs the requests.
        connection: leads to the front end.
        memory: the front end's shared memory.
        clock: the core's clock, in seconds.

    Attributes:
        tickets: its requests in the queue, by number.
        silent_ticks: how often `RemoteDecoders` has waited for it since its last message.
    """

    def __init__(
        self,
        core: EngineCore,
        connection: Connection[ToCore],
        memory: PixelReader,
        clock: Callable[[], float],
    ) -> None:
        self.tickets: dict[int, RequestTicket] = {}
        self.silent_ticks = 0
        self._core = core
        self._connection = connection
        self._memory = memory
        self._clock = clock
        self._withdrawn: set[int] = set()

    def send(self, message: Message) -> None:
        """Sends a message to the front end."""
        self._connection.send(message)

    def admit(self, message: Admit) -> None:
        """Admits a request, or refuses it."""
        lane = LaneKey(*message.lane)
        future = _RemoteFuture(self, message.number)
        payload = RequestPayload(
            message.number,
            None,
            None,
            message.top_k,
            future,
            min_probability=message.min_probability,
            want_features=message.want_features,
        )
        try:
            if message.pixels is not None:
                payload.pixels = self._pixels(lane, message.pixels)
            work = None if message.work is None else DecodeWork(*message.work)
            ticket = self._core.admit(lane, payload, message.deadline, Priority(message.priority), work, message.caller)
        except RequestError as error:
            self.send(Refused(message.number, pack_error(error), at_admission=True))
            return
        future.ticket = self.tickets[message.number] = ticket

    def fail(self, number: int, error: RequestError) -> None:
        """Ends a request, whether it was admitted or not."""
        ticket = self.tickets.get(number)
        if ticket is None:
            self.send(Refused(number, pack_error(error)))
        else:
            self._core.fail(ticket, error)

    def decode(self, turn: int, tickets: Sequence[RequestTicket]) -> None:
        """Has the front end decode these images now."""
        self.send(Decode(turn, [ticket.payload.number for ticket in tickets]))

    def withdraw(self, tickets: Iterable[RequestTicket]) -> None:
        """Takes images that this front end was to decode out of the queue, until it has decoded them."""
        for ticket in tickets:
            if ticket.stage is Stage.DECODING:
                self._core.queue.cancel(ticket, by_caller=False)
                self._withdrawn.add(ticket.payload.number)

    def decoded(self, message: Decoded) -> list[RequestTicket]:
        """Queues a decoded image; returns its ticket if no device is left for it."""
        ticket = self.tickets.get(message.number)
        is_withdrawn = self._is_withdrawn_no_more(message.number)
        if ticket is None or not (is_withdrawn or ticket.stage is Stage.DECODING):
            return []
        ticket.payload.pixels = self._pixels(lane_key_of(ticket), message.pixels)
        ticket.payload.decode_seconds = message.decode_seconds
        stranded = self._core.queue.put({ticket: message.processor_seconds})
        if is_withdrawn:
            self._admit_anew(ticket, None)
        return stranded

    def give_back(self, message: GiveBack) -> list[RequestTicket]:
        """Returns images to the queue; returns the tickets that no device is left for."""
        tickets = [self.tickets[number] for number in message.numbers if number in self.tickets]
        withdrawn = [ticket for ticket in tickets if self._is_withdrawn_no_more(ticket.payload.number)]
        for ticket in withdrawn:
            self._admit_anew(ticket, ticket.work)
        return self._core.queue.give_back(ticket for ticket in tickets if ticket not in withdrawn)

    def cancel(self, message: Cancel) -> None:
        """Cancels a request that has ended in the front end."""
        ticket = self.tickets.pop(message.number, None)
        if ticket is not None:
            ticket.payload.future.is_done = True  # type: ignore[attr-defined]
            if self._is_withdrawn_no_more(message.number):
                return
            if message.by_caller:
                self._core.cancel(ticket)
            else:
                self._core.queue.cancel(ticket, by_caller=False)

    def expire(self, message: Expire) -> None:
        """Ends a request whose deadline has passed."""
        ticket = self.tickets.get(message.number)
        if ticket is not None and self._is_withdrawn_no_more(message.number):
            self._core.fail(ticket, too_late(ticket, self._clock(), "waited for a decoder"))
        elif ticket is not None:
            self._core.expire(ticket)

    def close(self) -> None:
        """Cancels everything: the front end is gone."""
        for number in list(self.tickets):
            self.cancel(Cancel(number, by_caller=False))
        self._memory.close()

    def _is_withdrawn_no_more(self, number: int) -> bool:
        """Whether a request was withdrawn; it no longer is."""
        if number not in self._withdrawn:  # nearly always
            return False
        self._withdrawn.remove(number)
        return True

    def _admit_anew(self, ticket: RequestTicket, work: DecodeWork | None) -> None:
        """Returns a request that was withdrawn to the queue; ends it if it is refused."""
        payload: Any = ticket.payload
        try:
            again = self._core.admit(
                lane_key_of(ticket), payload, ticket.deadline, ticket.priority, work, ticket.caller
            )
        except RequestError as error:
            payload.future.set_exception(error)
        else:
            payload.future.ticket = self.tickets[payload.number] = again

    def _pixels(self, lane: LaneKey, data: bytes | Slot) -> Pixels:
        models = self._core.devices.models(lane)
        if not models:
            raise unloaded(lane)
        spec = models[0].manifest.input
        shape = spec.height, spec.width, spec.channels
        if isinstance(data, Slot):
            return self._memory.view(data, shape)
        return numpy.frombuffer(data, numpy.uint8).reshape(shape)


class _RemoteFuture:
    """Implements `ResultFuture` for a request of a front end."""

    __slots__ = ("_number", "_session", "is_done", "ticket")

    def __init__(self, session: FrontEndSession, number: int) -> None:
        self._session = session
        self._number = number
        self.is_done = False
        self.ticket: RequestTicket | None = None

    def done(self) -> bool:
        """Returns whether the request has ended or was cancelled."""
        return self.is_done

    def set_result(self, ranked: TimedRanking, /) -> None:
        """Sends the answer."""
        ranking = ranked.ranking
        self._end(
            Answer(
                self._number,
                ranking.indices,
                ranking.probabilities,
                ranking.features,
                ranked.batch_size,
                ranked.queue_seconds,
                ranked.inference_seconds,
                None if self.ticket is None else _batch_times(self.ticket.payload.batch),
            )
        )

    def set_exception(self, error: RequestError, /) -> None:
        """Sends the error."""
        self._end(Refused(self._number, pack_error(error)))

    def _end(self, message: Message) -> None:
        self.is_done = True
        self.ticket = None
        self._session.tickets.pop(self._number, None)
        self._session.send(message)


def _batch_times(batch: BatchRecord | None) -> BatchTimes | None:
    if batch is None:
        return None
    return BatchTimes(batch.number, batch.device, batch.size, batch.taken_at, batch.finished_at)
