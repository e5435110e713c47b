"""StreamClassify: requests in any number, responses in order of completion, with a bounded window in the server.

A reader task reads images and begins their requests; the call's own task writes the responses. An image has a task of
its own only while it is charged.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import TYPE_CHECKING

import grpc

from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome, RequestState
from linnaeus.server.errors import InvalidArgument, RequestError, Unavailable
from linnaeus.server.requests.request import Classification
from linnaeus.server.rpc.messages import to_image_request, to_image_result
from linnaeus.server.rpc.request_messages import RequestMessages, release_hold
from linnaeus.server.security.byte_budget import Reservation
from linnaeus.server.security.charging import Charge, no_charge
from linnaeus.server.security.current_caller import current_caller
from linnaeus.v1 import classifier_pb2 as v1

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import _ServicerContext as Context

_RETRY_SECONDS = 1.0


class ClassifyStream:
    """One call of StreamClassify.

    Invariants:
        - at most `window` images have been read and not been answered, so a caller that does not read responses stops
          the reading of its images;
        - every image that was read is answered exactly once, unless the call is cancelled or its deadline passes;
        - when the call has ended, none of its requests is left in the engine, none of its tasks, and no bytes held;
        - a fault while an image is begun or answered ends the call with its error.

    Args:
        engine: classifies the images.
        context: the call's context, for writing.
        messages: the call's messages.
        deadline: the call's deadline on the engine's clock; None for no deadline.
        window: the maximum number of unanswered images; at least 1.
        clock: the engine's clock.
        charge: charges each image but the first, which was charged with the call.
    """

    def __init__(
        self,
        engine: Engine,
        context: "Context",
        messages: RequestMessages,
        deadline: float | None,
        window: int,
        clock: Callable[[], float],
        charge: Charge = no_charge,
    ) -> None:
        self._clock = clock
        self._charge = charge
        self._engine = engine
        self._context = context
        self._messages = messages
        self._deadline = deadline
        self._caller = current_caller()
        self._window = asyncio.Semaphore(window)
        # What images hold that were read and whose response is not written, by their number.
        self._unanswered: dict[int, Reservation | None] = {}
        self._charging: set[asyncio.Task[None]] = set()
        self._in_flight: dict[int, RequestState] = {}
        self._responses: deque[tuple[int, v1.StreamClassifyResponse]] = deque()
        self._fault: Exception | None = None
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Serves the stream until the caller has sent its last image and received all responses.

        Raises:
            Unavailable: if the server stops; all images that were read have been answered.
        """
        reader = asyncio.create_task(self._read())
        closing = asyncio.create_task(self._engine.closing.wait())
        try:
            reader.add_done_callback(self._notify)
            closing.add_done_callback(lambda _: reader.cancel())
            await self._write(reader)
        finally:
            for task in (reader, closing, *self._charging):
                task.cancel()
            for state in self._in_flight.values():
                self._engine.cancel(state)
            for hold in self._unanswered.values():
                release_hold(hold)
        if self._fault is not None:
            raise self._fault
        if not reader.cancelled():
            reader.result()
        else:
            raise Unavailable("the server is stopping; open the stream at another one", _RETRY_SECONDS)

    async def _read(self) -> None:
        serial = 0
        while True:
            await self._window.acquire()
            message = await self._messages.read()
            if message is grpc.aio.EOF:
                return
            if self._engine.closing.is_set():
                raise asyncio.CancelledError  # leaves the image to another server
            serial += 1
            self._unanswered[serial] = self._messages.take_hold()
            if serial == 1 or self._charge is no_charge:
                self._begin(serial, message)
            else:
                self._begin_charged(serial, message)
            del message  # would be kept while the stream waits for the next one

    def _begin_charged(self, serial: int, message: v1.StreamClassifyRequest) -> None:
        """Charges an image, then begins it; further ones are read meanwhile. Charges end in the order they began in."""
        task = asyncio.create_task(self._charge_and_begin(serial, message))
        self._charging.add(task)
        task.add_done_callback(self._charged)

    async def _charge_and_begin(self, serial: int, message: v1.StreamClassifyRequest) -> None:
        try:
            await self._charge(1)
        except RequestError as error:
            self._on_outcome(serial, message.correlation_id, message.image.id, error)
        else:
            self._begin(serial, message)

    def _charged(self, task: "asyncio.Task[None]") -> None:
        self._charging.discard(task)
        fault = None if task.cancelled() else task.exception()
        if isinstance(fault, Exception):
            self._fault = fault
            self._changed.set()

    def _begin(self, serial: int, message: v1.StreamClassifyRequest) -> None:
        on_outcome = partial(self._on_outcome, serial, message.correlation_id, message.image.id)
        try:
            deadline = self._deadline_of(message)
            request = to_image_request(message.image, message, deadline, self._caller)
        except InvalidArgument as error:
            on_outcome(error)
            return
        state = self._engine.begin(request, on_outcome)
        if not state.is_done:
            self._in_flight[serial] = state

    def _deadline_of(self, message: v1.StreamClassifyRequest) -> float | None:
        """Returns the earlier of the image's and the call's deadline; a timeout of 0 is none.

        Raises:
            InvalidArgument: if the timeout is below 0, infinite or not a number.
        """
        seconds = message.timeout_seconds
        if seconds == 0.0:
            return self._deadline
        if not 0.0 < seconds < inf:
            text = f"timeout_seconds is {seconds}, but must be a finite number of at least 0; 0 means none"
            raise InvalidArgument("timeout_seconds", text)
        deadline = self._clock() + seconds
        return deadline if self._deadline is None else min(deadline, self._deadline)

    def _on_outcome(self, serial: int, correlation_id: int, image_id: str, outcome: Outcome) -> None:
        """Queues the response of an image; called by the engine when its request is done, which nothing may disturb."""
        self._in_flight.pop(serial, None)
        try:
            self._responses.append((serial, _response(correlation_id, image_id, outcome)))
        except Exception as fault:  # `serve` raises it, which ends the stream
            self._fault = fault
        self._changed.set()

    async def _write(self, reader: "asyncio.Task[None]") -> None:
        """Writes responses until the reader has ended and every image that it read is answered, or something failed."""
        while True:
            while self._responses:
                await self._messages.take_turn()
                serial, response = self._responses.popleft()
                await self._context.write(response)
                release_hold(self._unanswered.pop(serial))
                self._window.release()
            if self._fault is not None or (reader.done() and (not self._unanswered or _has_failed(reader))):
                return
            self._changed.clear()
            await self._changed.wait()

    def _notify(self, _: object) -> None:
        self._changed.set()


def _response(correlation_id: int, image_id: str, outcome: Outcome) -> v1.StreamClassifyResponse:
    response = v1.StreamClassifyResponse(correlation_id=correlation_id, result=to_image_result(outcome, image_id))
    if isinstance(outcome, Classification):
        response.model, response.version = outcome.model, outcome.version
    return response


def _has_failed(reader: "asyncio.Task[None]") -> bool:
    """Returns whether the reader ended by a fault of the server; a refusal waits for the answers of earlier images."""
    error = None if reader.cancelled() else reader.exception()
    return error is not None and not isinstance(error, RequestError)
