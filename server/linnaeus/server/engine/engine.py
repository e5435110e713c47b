"""The engine: the one object that both answers requests and knows what is served.

A request is one straight line: resolve, admit, decode (a decoder pulls it), queue, run (a device pulls it), hand back.
Every method belongs to the event loop's thread, unless it says otherwise.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding.decoder_threads import DecoderThreads
from linnaeus.server.engine.batch_call import OutcomeCollector, raise_if_all_retryable, with_response_margin
from linnaeus.server.engine.dispatch import Dispatcher
from linnaeus.server.engine.in_flight import InFlightRequests
from linnaeus.server.engine.request_state import Outcome, OutcomeCallback, RequestState
from linnaeus.server.engine.result_delivery import ResultDelivery
from linnaeus.server.errors import RequestError
from linnaeus.server.execution.device_pool import DevicePool
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.model_store.loader import Loader
from linnaeus.server.model_store.model_manager import ModelManager
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.requests.event_log import EventLog, NullEventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer
from linnaeus.server.requests.request import Classification, Request, RequestPayload
from linnaeus.server.requests.request_record import RecordHandler
from linnaeus.server.runtime.device import default_decoders, resolve_devices
from linnaeus.server.runtime.device_memory import DeviceMemory
from linnaeus.server.scheduling import BatchQueue, PredictionError


class Engine:
    """Serves the models of one repository on the devices that they name.

    Life: construct, `load` (the models become ready one by one), `classify` as often as wanted, `close`.

    Attributes:
        catalog: what is served.
        model_manager: what is loaded when.
        health_changed: set whenever a device was taken out, or other versions are served.
        closing: set once nothing more is admitted, so that whoever workers may end.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        event_log: EventLog | None = None,
        record_handler: RecordHandler | None = None,
    ) -> None:
        self.catalog = Catalog()
        self.health_changed = asyncio.Event()
        self.closing = asyncio.Event()
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        devices = resolve_devices(settings.device)  # a wrong name ends the start, not the loading of every model
        event_log = event_log or NullEventLog()
        decoders = settings.decode_threads or default_decoders(devices)
        self._queue: BatchQueue[RequestPayload] = BatchQueue(clock, decoders)
        delivery = ResultDelivery(self._queue, observer, event_log, clock, record_handler)
        in_background = settings.decode_priority == "background"
        self._decoders = DecoderThreads(
            self._queue, delivery.fail, decoders, in_background, settings.max_image_pixels, clock
        )
        self._devices = DevicePool(
            self._queue,
            settings.streams,
            settings.intra_op_threads,
            clock,
            on_batch_started=delivery.batch_started,
            on_batch_finished=delivery.batch_finished,
            on_stranded=delivery.fail_stranded,
            on_device_removed=self._on_device_removed,
        )
        dispatcher = Dispatcher(self._queue, self._devices.run_inline, clock)
        self._requests = InFlightRequests(
            self.catalog, self._queue, dispatcher, observer, event_log, clock, record_handler
        )
        loader = Loader(settings.intra_op_threads, clock)
        version_switch = VersionSwitch(self.catalog, self._queue, self._devices, loader)
        self.model_manager = ModelManager(
            settings, self.catalog, version_switch, loader, observer, self.health_changed.set
        )

    @property
    def in_flight(self) -> int:
        """Images admitted and not yet answered."""
        return self._requests.in_flight

    @property
    def device_states(self) -> dict[str, bool]:
        """Every device by name, and whether it runs batches. May be called from any thread."""
        return self._devices.states

    @property
    def device_workers(self) -> dict[str, int]:
        """Batches that run side by side on each device that was taken into use. May be called from any thread."""
        return self._devices.workers

    @property
    def device_memory(self) -> dict[str, DeviceMemory]:
        """The memory of each device that has one of its own, asked anew. May be called from any thread."""
        return self._devices.memory()

    def queue_depth(self, lane: LaneKey) -> int:
        """Images of a version that wait for a decoder or a device. May be called from any thread."""
        return self._queue.depth(lane)

    def prediction_error(self, lane: LaneKey) -> PredictionError:
        """How well a ready version's answers are predicted. May be called from any thread."""
        return self._queue.prediction_error(lane)

    def batch_seconds(self, lane: LaneKey) -> dict[str, dict[int, float]]:
        """How long a ready version's batches now take, by device and size. May be called from any thread."""
        return self._queue.batch_seconds(lane)

    async def load(self) -> None:
        """Loads what is to be served from the start; see `ModelManager.start`.

        Raises:
            StartupError: the repository is missing or empty.
        """
        self._decoders.start()
        await self.model_manager.start()

    async def classify(self, request: Request) -> Classification:
        """Answers one request.

        Raises:
            RequestError: there is no answer; see `linnaeus.server.errors`.
            asyncio.CancelledError: the caller left; its image will not be run, if it has not been yet.
        """
        answer: asyncio.Future[Classification] = self._loop.create_future()
        state = self.begin(request, partial(_resolve, answer))
        try:
            return await answer
        except asyncio.CancelledError:
            self.cancel(state)
            raise
        finally:
            # An error remembers this frame; if the frame remembered who holds the error, only the collector could free
            # them, and the picture.
            del answer, state

    async def classify_many(self, requests: Sequence[Request]) -> list[Outcome]:
        """Answers many requests of one caller, each by itself, in one wait and in order.

        An image that is bad, refused, late or failed has its error for an outcome and harms no other. Where there are
        deadlines, images end a little before theirs, so that the answer of all is in time. All are admitted in one step
        of the event loop: nobody else's image comes in between.

        Args:
            requests: usually alike but for the image; may be empty.

        Raises:
            RequestError: a request asks for a model that is not served or for too many classes (nothing was begun
                then), or every image was refused with Overloaded or Unavailable (the first one's).
            asyncio.CancelledError: the caller left; what has not been run will not be.
        """
        self._requests.require_answerable(requests)
        collector = OutcomeCollector(len(requests))
        in_time = with_response_margin(requests, self._clock())
        states = [self.begin(each, partial(collector.set, place)) for place, each in enumerate(in_time)]
        try:
            outcomes = await collector.wait()
        except asyncio.CancelledError:
            for state in states:
                self.cancel(state)
            raise
        raise_if_all_retryable(outcomes)
        return outcomes

    def begin(self, request: Request, on_outcome: OutcomeCallback) -> RequestState:
        """Begins to answer one request without anybody who waits; `on_outcome` is told its outcome on the event loop.

        One that is refused is over, and `on_outcome` was told, when this returns.
        """
        return self._requests.begin(request, on_outcome)

    def cancel(self, state: RequestState) -> None:
        """The caller left: the image will not be run, if it has not been yet, and `on_outcome` is not told."""
        self._requests.cancel(state)

    async def close(self) -> None:
        """Admits nothing more, finishes what was admitted, then ends all threads. May be called twice."""
        self.closing.set()
        self.model_manager.close()
        self._queue.close()
        await self._devices.wait_closed()

    def _on_device_removed(self, device: str) -> None:
        """Tells of a device that was taken out; runs on its thread."""
        self._loop.call_soon_threadsafe(self.health_changed.set)


def _resolve(answer: "asyncio.Future[Classification]", outcome: Outcome) -> None:
    """Gives the waiting caller the outcome; one who has left by now is not told of it."""
    if answer.done():
        return
    if isinstance(outcome, RequestError):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
