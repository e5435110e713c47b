"""StreamClassify: images as they come, answers as they are ready, and never more than a window of them in the server.

Two tasks a stream and none an image: one reads and begins, the other writes the outcomes. They meet in
the outbox.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import grpc

from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome, RequestState
from linnaeus.server.errors import InvalidImage, Overloaded, Unavailable
from linnaeus.server.requests.request import Classification
from linnaeus.server.rpc.messages import to_image_request, to_image_result
from linnaeus.server.security.authorization import Charge, no_charge
from linnaeus.v1 import classifier_pb2 as v1

if TYPE_CHECKING:
    from linnaeus.v1.classifier_pb2_grpc import _ServicerContext as Context

_RETRY_SECONDS = 1.0


class ClassifyStream:
    """One call of StreamClassify.

    Invariants:
        1. At most `window` images were read and have no written answer: a caller that does not read holds that many.
        2. Every image that was read is answered once, unless the call ends by cancellation or its deadline.
        3. However the call ends, no image of it is left in the engine and no task either.

    Args:
        engine: who answers.
        context: the call.
        deadline: the engine clock's time by which the call must have ended, None for never.
        window: images, at least 1.
        clock: the engine's.
        charge: counts each image but the first, which the call itself counts for.
    """

    def __init__(
        self,
        engine: Engine,
        context: "Context",
        deadline: float | None,
        window: int,
        clock: Callable[[], float],
        charge: Charge = no_charge,
    ) -> None:
        self._clock = clock
        self._charge = charge
        self._engine = engine
        self._context = context
        self._deadline = deadline
        self._caller = context.peer()
        self._window = asyncio.Semaphore(window)
        self._unanswered = 0  # read and not answered in writing
        self._in_flight: dict[int, RequestState] = {}
        self._responses: deque[v1.StreamClassifyResponse] = deque()
        self._changed = asyncio.Event()

    async def serve(self) -> None:
        """Reads, answers and returns when the caller has sent its last image and has all answers.

        Raises:
            Unavailable: the server stops; what was read is answered.
        """
        reading = asyncio.create_task(self._read())
        closing = asyncio.create_task(self._engine.closing.wait())
        try:
            reading.add_done_callback(self._notify)
            closing.add_done_callback(lambda _: reading.cancel())
            await self._write(reading)
        finally:
            reading.cancel()
            closing.cancel()
            for state in self._in_flight.values():
                self._engine.cancel(state)
        if not reading.cancelled():
            reading.result()
        else:
            raise Unavailable("the server is stopping; open the stream at another one", _RETRY_SECONDS)

    async def _read(self) -> None:
        serial = 0
        while True:
            await self._window.acquire()
            message = await self._context.read()
            if message is grpc.aio.EOF:
                return
            if self._engine.closing.is_set():
                raise asyncio.CancelledError  # as if it had not been read: another server will answer it
            serial += 1
            self._begin(serial, message)

    def _begin(self, serial: int, message: v1.StreamClassifyRequest) -> None:
        self._unanswered += 1
        on_outcome = partial(self._on_outcome, serial, message.correlation_id, message.image.id)
        try:
            if serial > 1:
                self._charge(self._context, 1)
            request = to_image_request(message.image, message, self._deadline_of(message), self._caller)
        except (InvalidImage, Overloaded) as error:
            on_outcome(error)
            return
        state = self._engine.begin(request, on_outcome)
        if not state.is_done:
            self._in_flight[serial] = state

    def _deadline_of(self, message: v1.StreamClassifyRequest) -> float | None:
        """When the image's time, or the stream's, is over; a time that is no number above 0 is none."""
        if not message.timeout_seconds > 0.0:
            return self._deadline
        own = self._clock() + message.timeout_seconds
        return own if self._deadline is None else min(own, self._deadline)

    def _on_outcome(self, serial: int, correlation_id: int, image_id: str, outcome: Outcome) -> None:
        """An image is done with; called by the engine."""
        self._in_flight.pop(serial, None)
        answer = v1.StreamClassifyResponse(correlation_id=correlation_id, result=to_image_result(outcome, image_id))
        if isinstance(outcome, Classification):
            answer.model, answer.version = outcome.model, outcome.version
        self._responses.append(answer)
        self._changed.set()

    async def _write(self, reading: "asyncio.Task[None]") -> None:
        """Writes answers until nothing more is read and none is missing."""
        while True:
            while self._responses:
                await self._context.write(self._responses.popleft())
                self._unanswered -= 1
                self._window.release()
            if reading.done() and not self._unanswered:
                return
            self._changed.clear()
            await self._changed.wait()

    def _notify(self, _: object) -> None:
        self._changed.set()
