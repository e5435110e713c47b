"""The engine: answers the requests of this process with a core, which may be in another one.

A request passes these stages: resolve the version, admit, decode (on a decoder thread), queue, run (on a worker of a
device), deliver the result to the event loop. This module must not know gRPC.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding.decoder_threads import DecoderThreads
from linnaeus.server.engine.batch_call import OutcomeCollector, raise_if_all_retryable, with_response_margin
from linnaeus.server.engine.core_client import CoreClient, ModelFigures
from linnaeus.server.engine.in_flight import InFlightRequests
from linnaeus.server.engine.request_state import Outcome, OutcomeCallback, RequestState
from linnaeus.server.errors import RequestError
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import EventLog, NullEventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer
from linnaeus.server.requests.request import Classification, Request
from linnaeus.server.requests.request_record import RecordHandler

# A decoder ends once it has decoded its current picture, which may take longer; its result is not needed.
_LONGEST_JOIN_SECONDS = 1.0


class Engine:
    """A server, without its network interface.

    Life cycle: construct, `load` (the models become ready one by one), any number of `classify` calls, `drain`,
    `close`.
    Belongs to the event loop's thread, except where a method states otherwise.

    Args:
        settings: the server's settings.
        core: the queue, the devices and the models.
        observer: receives metrics.
        clock: monotonic time in seconds; every deadline is a time of this clock.
        event_log: receives events; None for no log.
        record_handler: receives records of sampled requests; None for no records, which then cost nothing.
        supervisor: receives faults that escaped from threads and tasks; None for one that only logs them.
        numbers: the numbers of requests, unique among the engines of a core; None for 1, 2, 3 and so on.

    Attributes:
        catalog: the model versions and their states.
        model_manager: loads and unloads versions.
        health_changed: set whenever a device is removed or the served versions change.
        core: the queue, the devices and the models.
        closing: set by `drain`, before requests are refused; long-lived streams end on it.
    """

    def __init__(
        self,
        settings: Settings,
        core: CoreClient,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        event_log: EventLog | None = None,
        record_handler: RecordHandler | None = None,
        supervisor: Supervisor | None = None,
        numbers: Iterator[int] | None = None,
    ) -> None:
        self.closing = asyncio.Event()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        event_log = event_log or NullEventLog()
        supervisor = supervisor or Supervisor()
        self.core = core
        self.catalog = core.catalog
        self.model_manager = core.model_manager
        self.health_changed = core.health_changed
        self._decoders = DecoderThreads(
            core.queue,
            core.fail,
            settings.decode_priority == "background",
            settings.max_image_pixels,
            clock,
            supervisor,
        )
        self._requests = InFlightRequests(
            self.catalog,
            core,
            observer,
            event_log,
            clock,
            settings.max_image_pixels,
            supervisor,
            record_handler,
            numbers,
        )

    @property
    def in_flight(self) -> int:
        """Number of requests admitted and not yet ended."""
        return self._requests.in_flight

    @property
    def device_states(self) -> Mapping[str, bool]:
        """Whether each device runs batches (False if it was removed), by device name."""
        return self.core.device_states

    async def figures(self, lane: LaneKey) -> ModelFigures:
        """Returns what has been measured of a ready version."""
        return await self.core.figures(lane)

    async def load(self) -> None:
        """Starts the decoders and loads the initial models; see `ModelManager.start`.

        Raises:
            StartupError: if the repository is missing or empty.
        """
        await self.core.prepare()
        self._decoders.start(self.core.decoders)
        await self.core.load()

    async def classify(self, request: Request) -> Classification:
        """Answers one request.

        Raises:
            RequestError: if the request fails; see the subclasses in `linnaeus.server.errors`.
            asyncio.CancelledError: if the caller cancels; the image is then not run, unless it already was.
        """
        answer: asyncio.Future[Classification] = self._loop.create_future()
        state = self.begin(request, partial(_resolve, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancel(state)
            raise
        finally:
            # A raised error's traceback refers to this frame, and these locals refer to the error: without `del`, only
            # the garbage collector could free the cycle and the image.
            del answer, state

    async def classify_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answers the requests of one call, each independently.

        All requests are admitted in one iteration of the event loop, so no other caller's request comes between them.
        Their deadlines are made slightly earlier, so that the common response is in time.

        Args:
            requests: the requests, usually equal except for the image; may be empty.

        Returns:
            One outcome for each request, in order: an answer, or the error of that request alone.

        Raises:
            RequestError: if a request names a model that is not served or asks for what it does not have (nothing is
                started then), or if every request is refused with Overloaded or Unavailable.
            asyncio.CancelledError: if the caller cancels; images that were not run yet are not run.
        """
        self._requests.require_answerable(requests)
        collector = OutcomeCollector(len(requests))
        in_time = with_response_margin(requests, self._clock())
        states = [self.begin(each, partial(collector.set, index)) for index, each in enumerate(in_time)]
        try:
            outcomes = await collector.wait()
        except asyncio.CancelledError:
            for state in states:
                self.cancel(state)
            raise
        raise_if_all_retryable(outcomes)
        return outcomes

    def begin(self, request: Request, on_outcome: OutcomeCallback) -> RequestState:
        """Starts one request without waiting for it; `on_outcome` is called with its outcome on the event loop.

        If the request is refused, `on_outcome` is called before this method returns.
        """
        return self._requests.begin(request, on_outcome)

    def cancel(self, state: RequestState) -> None:
        """Cancels a request: its image is not run, unless it already was, and `on_outcome` is not called."""
        self._requests.cancel(state)

    def drain(self) -> None:
        """Ends streams and pending loads, and lets no batch wait for more images; requests are still admitted."""
        self.closing.set()
        self.core.drain()

    async def close(self) -> None:
        """Refuses new requests, finishes the admitted ones, then ends all threads. May be called twice."""
        self.drain()
        await self.core.close()
        await run_in_thread("linnaeus-close", partial(self._decoders.join, _LONGEST_JOIN_SECONDS))


def _resolve(answer: "asyncio.Future[Classification]", outcome: Outcome) -> None:
    """Completes the caller's future with the outcome, unless the caller cancelled it."""
    if answer.done():
        return
    if isinstance(outcome, RequestError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
