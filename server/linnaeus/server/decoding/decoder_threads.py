"""The threads that decode pictures: each pulls the most urgent one, decodes it and puts it before the devices.

It must not know who waits for the answers, nor how they are spoken of on the wire.
"""

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator

from linnaeus.server.decoding.decode import decode
from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.process.thread_priority import lower_priority, use_idle_scheduling
from linnaeus.server.requests.refusals import no_device, too_late
from linnaeus.server.requests.request import RequestPayload, RequestTicket, lane_key_of
from linnaeus.server.scheduling import BatchQueue

logger = logging.getLogger(__name__)


class DecoderThreads:
    """Decoder threads, until the queue is closed and nothing is left to decode.

    Contract: every ticket that the queue hands out is put before the devices or given up with an error.

    Args:
        queue: where tickets come from and go to.
        on_failure: takes a ticket that will not reach a device, and why; called from these threads.
        threads: how many pictures are decoded at once.
        in_background: whether they give way to every other thread.
        max_image_pixels: height times width of a picture at most.
        clock: the queue's clock.
    """

    def __init__(
        self,
        queue: BatchQueue[RequestPayload],
        on_failure: Callable[[RequestTicket, RequestError], None],
        threads: int,
        in_background: bool,
        max_image_pixels: int,
        clock: Callable[[], float],
    ) -> None:
        self._queue = queue
        self._on_failure = on_failure
        self._threads = threads
        self._in_background = in_background
        self._max_image_pixels = max_image_pixels
        self._clock = clock

    def start(self) -> None:
        """Begins to pull."""
        for _ in range(self._threads):
            threading.Thread(target=self._run, name="linnaeus-decode", daemon=True).start()

    def _run(self) -> None:
        lower_priority()
        if self._in_background:
            use_idle_scheduling()
        while (turn := self._queue.next_to_decode()) is not None:
            for ticket in turn.late:
                self._on_failure(ticket, too_late(ticket, self._clock(), "waited for a decoder"))
            for ticket in self._queue.put(dict(self._decode_all(turn.tickets))):
                self._on_failure(ticket, no_device(lane_key_of(ticket)[0]))

    def _decode_all(self, tickets: Iterable[RequestTicket]) -> Iterator[tuple[RequestTicket, float]]:
        """Decodes one after the other; yields those that went well, each with the processor time it took."""
        for ticket in tickets:
            try:
                yield ticket, self._decode(ticket.payload)
            except RequestError as error:
                self._on_failure(ticket, error)
            except Exception as error:  # the boundary: a fault of ours must reach the caller, and not end the thread
                reference = uuid.uuid4().hex[:12]
                logger.error("decoding failed [%s]", reference, exc_info=error)
                self._on_failure(ticket, InternalFailure(f"decoding failed (log reference {reference})", reference))

    def _decode(self, payload: RequestPayload) -> float:
        """Decodes into the payload; returns the processor time it took."""
        started, processor_started = self._clock(), time.thread_time()
        payload.pixels = decode(payload.image, payload.input, self._max_image_pixels)
        payload.decode_seconds = self._clock() - started
        return time.thread_time() - processor_started
