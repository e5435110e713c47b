"""The threads that decode images: each takes the most urgent ones, decodes them and queues them for the devices.

This module must not know callers or gRPC.
"""

import time
from collections.abc import Callable

from linnaeus.server.decoding.decode import decode
from linnaeus.server.decoding.decoder_turn import DecoderTurn
from linnaeus.server.errors import InternalFailure, RequestError, StartupError
from linnaeus.server.process.supervised_thread import SupervisedThread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.process.thread_priority import lower_priority, use_idle_scheduling
from linnaeus.server.requests.request import RequestPayload, RequestTicket
from linnaeus.server.requests.request_queue import RequestQueue

# The name of decoders in reports of faults.
DECODER_PART = "decoder"


class DecoderThreads:
    """A pool of decoder threads, which end once the queue is closed and nothing is left to decode.

    Invariants:
        1. Every ticket taken from the queue is queued for the devices, given back, passed to `on_failure`, or has ended
           already.
        2. A fault outside an image's decoding is reported, and every ticket that it left in the turn is passed to
           `on_failure`. A fault without a turn restarts the thread; if it keeps failing, the server ends.

    Args:
        queue: source and destination of the tickets.
        on_failure: receives a ticket that will not reach a device, and its error; called on the decoder threads.
        in_background: whether the threads run only when no other thread needs the processor.
        max_image_pixels: largest allowed width x height of an image.
        clock: the queue's clock, in seconds.
        supervisor: receives faults outside an image's decoding.
    """

    def __init__(
        self,
        queue: RequestQueue,
        on_failure: Callable[[RequestTicket, RequestError], None],
        in_background: bool,
        max_image_pixels: int,
        clock: Callable[[], float],
        supervisor: Supervisor,
    ) -> None:
        self._queue = queue
        self._on_failure = on_failure
        self._in_background = in_background
        self._max_image_pixels = max_image_pixels
        self._clock = clock
        self._supervisor = supervisor
        self._started: list[SupervisedThread] = []

    def start(self, threads: int) -> None:
        """Starts so many threads.

        Raises:
            StartupError: if the process may have no more threads.
        """
        for started in range(threads):
            try:
                self._started.append(self._thread())
                self._started[-1].start()
            except RuntimeError as error:
                sentence = f"only {started} of {threads} decoder threads can be started ({error})"
                raise StartupError(f"{sentence}: raise the limit of processes, or set fewer decode_threads") from None

    def join(self, seconds: float) -> None:
        """Waits until the threads have ended, for so long at most; see `RequestQueue.next_to_decode`."""
        ends_at = time.monotonic() + seconds
        for thread in self._started:
            thread.join(max(ends_at - time.monotonic(), 0.0))

    def _thread(self) -> SupervisedThread:
        return SupervisedThread(
            "linnaeus-decode",
            DECODER_PART,
            self._run,
            self._supervisor,
            give_up=lambda: self._supervisor.end_server(DECODER_PART),
            prepare=self._prepare,
        )

    def _prepare(self) -> None:
        lower_priority()
        if self._in_background:
            use_idle_scheduling()

    def _run(self) -> None:
        taken = None
        while (taken := self._queue.next_to_decode(taken)) is not None:
            turn = DecoderTurn(taken, self._queue, self._decode, self._fail, self._clock)
            try:
                turn.run()
            except BaseException as error:  # no fault may end the decoder and leave callers without an answer
                self._fail_rest(turn, error)

    def _fail_rest(self, turn: DecoderTurn, error: BaseException) -> None:
        """Fails what a fault left of a turn."""
        failure = self._internal_failure(error)
        for ticket in turn.unfinished():
            self._fail(ticket, failure)

    def _fail(self, ticket: RequestTicket, error: RequestError) -> None:
        try:
            self._on_failure(ticket, error)
        except BaseException as fault:  # the other tickets of the turn go on
            self._supervisor.report(DECODER_PART, fault)
            self._queue.cancel(ticket, by_caller=False)  # else the queue would wait for it for ever

    def _decode(self, payload: RequestPayload) -> float | RequestError:
        """Decodes into the payload; returns the processor time in seconds, or the error that its caller gets."""
        started, processor_started = self._clock(), time.thread_time()
        try:
            payload.pixels = decode(*payload.to_decode, self._max_image_pixels)
        except RequestError as error:
            return error
        except BaseException as error:  # also SystemExit of a library: it must reach the caller, not end the thread
            return self._internal_failure(error)
        payload.decode_seconds = self._clock() - started
        return time.thread_time() - processor_started

    def _internal_failure(self, error: BaseException) -> InternalFailure:
        reference = self._supervisor.report(DECODER_PART, error)
        return InternalFailure(f"decoding failed (log reference {reference})", reference)
