"""The core of the engine: the queue, the devices and the models, which all callers of a host share.

It charges callers, admits requests, forms batches, runs them and delivers their results. It knows no more of callers
than their names, and not the files that images come in: those belong to `Engine`, of which there may be several. This
module must not know gRPC.
"""

import asyncio
from collections.abc import Callable

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine import responses
from linnaeus.server.engine.admit import admit
from linnaeus.server.engine.core_client import ModelFigures
from linnaeus.server.engine.dispatch import Dispatcher
from linnaeus.server.engine.request_reports import REPORT_PART, event_fields, log_refused
from linnaeus.server.engine.result_delivery import ResultDelivery
from linnaeus.server.errors import RequestError
from linnaeus.server.execution.device_pool import DevicePool
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.model_store.loader import Loader
from linnaeus.server.model_store.model_manager import ModelManager
from linnaeus.server.model_store.opened_repository import repository_of
from linnaeus.server.model_store.version_switch import VersionSwitch
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.server.requests.event_log import EventLog
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.observer import Observer
from linnaeus.server.requests.refusals import displaced, too_late
from linnaeus.server.requests.request import RequestPayload, RequestTicket, lane_key_of
from linnaeus.server.requests.request_record import RecordHandler
from linnaeus.server.runtime.device import default_decoders, resolve_devices
from linnaeus.server.runtime.device_memory import DeviceMemory
from linnaeus.server.runtime.remembered_choices import cache_folder
from linnaeus.server.scheduling import BatchQueue, DecodeWork, PredictionError, Priority, Stage
from linnaeus.server.security.rate_limit import rate_limiter


class EngineCore:
    """The queue, the devices and the models of one repository. Belongs to the event loop's thread.

    Life cycle: construct, `load` (the models become ready one by one), `drain`, `close`.

    Args:
        settings: the server's settings.
        observer: receives batches and failed loads.
        clock: monotonic time in seconds; every deadline is a time of this clock.
        event_log: receives events.
        supervisor: receives faults that escaped from threads and tasks.
        record_handler: receives records of batches; None for no records.
        runs_short_apart: whether the caller runs the batches of models with short runs, by `DevicePool.run_short`.

    Attributes:
        catalog: the model versions and their states.
        queue: the requests that were admitted and have not ended.
        devices: run the batches.
        delivery: hands results to the event loop.
        repository: has the models.
        model_manager: loads and unloads versions.
        decoders: number of images that are decoded at once.
        unready_reason: empty, as of every core in its own process.
        health_changed: set whenever a device is removed or the served versions change.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float],
        event_log: EventLog,
        supervisor: Supervisor,
        record_handler: RecordHandler | None = None,
        runs_short_apart: bool = False,
    ) -> None:
        self.catalog = Catalog(settings.default_model, settings.wanted_models)
        self.health_changed = asyncio.Event()
        self.unready_reason = ""
        self._clock = clock
        self._rate_limiter = rate_limiter(settings, clock)
        self._observer = observer
        self._event_log = event_log
        self._supervisor = supervisor
        self._loop = asyncio.get_running_loop()
        devices = resolve_devices(settings.device)  # a wrong name must fail the start, not each load
        self.decoders = settings.decode_threads or default_decoders(devices, settings.front_end_count > 0)
        self.queue: BatchQueue[RequestPayload] = BatchQueue(
            clock,
            self.decoders,
            on_displaced=lambda ticket: self.fail(ticket, displaced(ticket)),
            runs_short_apart=runs_short_apart,
        )
        self.delivery = ResultDelivery(self.queue, observer, event_log, clock, supervisor, record_handler)
        self.devices = self._device_pool(settings, supervisor)
        self._dispatcher = Dispatcher(self.queue)
        loader = Loader(settings.intra_op_threads, clock, supervisor, cache_folder(settings.cache_dir))
        version_switch = VersionSwitch(self.catalog, self.queue, self.devices, loader)
        self.repository = repository_of(settings, self.catalog)
        self.model_manager = ModelManager(
            settings,
            self.repository,
            self.catalog,
            version_switch,
            loader,
            observer,
            supervisor,
            self.health_changed.set,
        )

    @property
    def device_states(self) -> dict[str, bool]:
        """Whether each device runs batches (False if it was removed), by device name. Any thread may read it."""
        return self.devices.states

    @property
    def device_workers(self) -> dict[str, int]:
        """Number of workers of each device in use, by device name. Any thread may read it."""
        return self.devices.workers

    @property
    def device_memory(self) -> dict[str, DeviceMemory]:
        """Current memory of each device that has its own, by device name. Any thread may read it."""
        return self.devices.memory()

    def queue_depth(self, lane: LaneKey) -> int:
        """Returns the number of a version's requests that wait for a decoder or a device. Any thread may call it."""
        return self.queue.depth(lane)

    def prediction_error(self, lane: LaneKey) -> PredictionError:
        """Returns the error of the predicted answer times of a ready version. Any thread may call it."""
        return self.queue.prediction_error(lane)

    def batch_seconds(self, lane: LaneKey) -> dict[str, dict[int, float]]:
        """Returns the estimated seconds of a ready version's batches by device and size. Any thread may call it."""
        return self.queue.batch_seconds(lane)

    async def figures(self, lane: LaneKey) -> ModelFigures:
        """Returns what has been measured of a ready version."""
        return ModelFigures(self.batch_seconds(lane), self.prediction_error(lane))

    def take(self, caller: str, cost: float) -> float:
        """Takes a cost from the rate of a caller; see `RateLimiter.take`. Returns 0.0 if there is no rate limit."""
        return 0.0 if self._rate_limiter is None else self._rate_limiter.take(caller, cost)

    async def charge(self, caller: str, cost: float) -> float:
        """Does the same, as of every core."""
        return self.take(caller, cost)

    def admit(
        self,
        lane: LaneKey,
        payload: RequestPayload,
        deadline: float | None,
        priority: Priority,
        work: DecodeWork | None,
        caller: str,
    ) -> RequestTicket:
        """Admits a request, and logs that it did or why not; see `engine.admit`."""
        try:
            ticket = admit(self.queue, lane, payload, deadline, priority, work, caller)
        except RequestError as error:
            log_refused(self._event_log, self._clock(), lane, payload.number, priority, deadline, error)
            raise
        if self._event_log.is_on:
            fields = event_fields(lane, payload.number, priority, deadline)
            self._event_log.write("admitted", ticket.admitted_at, **fields, predicted=ticket.predicted_at)
        return ticket

    def request_admitted(self) -> None:
        """Has an admitted request run soon; see `Dispatcher.request_admitted`."""
        self._dispatcher.request_admitted()

    def cancel(self, ticket: RequestTicket) -> None:
        """Cancels a request whose caller has left: its image is not run, unless it already was."""
        stage = self.queue.cancel(ticket)
        try:
            self._observer.cancelled(lane_key_of(ticket).model, stage.value)
        except ESCAPES as error:
            self._supervisor.report(REPORT_PART, error)

    def expire(self, ticket: RequestTicket) -> None:
        """Ends a request at its deadline, with an error that says at what stage it was."""
        stage = self.queue.cancel(ticket, by_caller=False)
        if stage is not Stage.ENDED:  # otherwise its outcome is already being delivered
            error = too_late(ticket, self._clock(), f"was at the stage {stage.value}")
            responses.complete(ticket.payload.future, error)

    def fail(self, ticket: RequestTicket, error: RequestError) -> None:
        """Ends a request whose image will not reach a device. Any thread may call it."""
        self.delivery.fail(ticket, error)

    async def prepare(self) -> None:
        """Does nothing: this core is in the process."""

    async def load(self) -> None:
        """Loads the initial models; see `ModelManager.start`.

        Raises:
            StartupError: if the repository is missing or empty.
        """
        await self.repository.open()
        await self.model_manager.start()

    def drain(self) -> None:
        """Ends pending loads, and lets no batch wait for more images; requests are still admitted."""
        self.model_manager.close()
        self.queue.drain()

    async def close(self) -> None:
        """Refuses new requests, finishes the admitted ones, then ends all threads. May be called twice."""
        self.drain()
        self.queue.close()
        await self.devices.wait_closed()

    def _device_pool(self, settings: Settings, supervisor: Supervisor) -> DevicePool:
        return DevicePool(
            self.queue,
            settings.streams,
            settings.intra_op_threads,
            self._clock,
            on_batch_started=self.delivery.batch_started,
            on_batch_finished=self.delivery.batch_finished,
            on_stranded=self.delivery.fail_stranded,
            on_device_removed=self._on_device_removed,
            on_batch_lost=self.delivery.fail_lost,
            supervisor=supervisor,
        )

    def _on_device_removed(self, device: str) -> None:
        """Sets `health_changed`; runs on a thread of the removed device."""
        self._loop.call_soon_threadsafe(self.health_changed.set)
