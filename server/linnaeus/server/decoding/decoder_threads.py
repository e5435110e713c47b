"""The threads that decode images: each takes the most urgent one, decodes it and queues it for the devices.

This module must not know callers or gRPC.
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
    """A pool of decoder threads, which end once the queue is closed and nothing is left to decode.

    Invariant: every ticket taken from the queue is either queued for the devices or passed to `on_failure`.

    Args:
        queue: source and destination of the tickets.
        on_failure: receives a ticket that will not reach a device, and its error; called on the decoder threads.
        threads: number of threads.
        in_background: whether the threads run only when no other thread needs the processor.
        max_image_pixels: largest allowed width x height of an image.
        clock: the queue's clock, in seconds.
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
        """Starts the threads."""
        for _ in range(self._threads):
            threading.Thread(target=self._run, name="linnaeus-decode", daemon=True).start()

    def _run(self) -> None:
        lower_priority()
        if self._in_background:
            use_idle_scheduling()
        turn = None
        while (turn := self._queue.next_to_decode(turn)) is not None:
            for ticket in turn.late:
                self._on_failure(ticket, too_late(ticket, self._clock(), "waited for a decoder"))
            for ticket in self._queue.put(dict(self._decode_all(turn.tickets))):
                self._on_failure(ticket, no_device(lane_key_of(ticket)[0]))

    def _decode_all(self, tickets: Iterable[RequestTicket]) -> Iterator[tuple[RequestTicket, float]]:
        """Decodes tickets one by one; yields each success with its processor time in seconds."""
        for ticket in tickets:
            try:
                yield ticket, self._decode(ticket.payload)
            except RequestError as error:
                self._on_failure(ticket, error)
            except Exception as error:  # an internal failure must reach the caller and must not end the thread
                reference = uuid.uuid4().hex[:12]
                logger.error("decoding failed [%s]", reference, exc_info=error)
                self._on_failure(ticket, InternalFailure(f"decoding failed (log reference {reference})", reference))

    def _decode(self, payload: RequestPayload) -> float:
        """Decodes into the payload; returns the processor time in seconds."""
        started, processor_started = self._clock(), time.thread_time()
        payload.pixels = decode(payload.image, payload.input, self._max_image_pixels)
        payload.decode_seconds = self._clock() - started
        return time.thread_time() - processor_started
