"""Loads version folders onto their devices, one at a time, on a thread of its own.

This module must not know which versions are served or wanted.

While other models are served ("busy"), a load uses at most one core, and batches are timed by the thread's processor
time as if all cores shared it. These times are slightly too low, which the measurements of admitted requests correct;
times that are too high would refuse the very requests that could correct them. Batches on a GPU are timed by the wall
clock. The warm-up runs at low priority, and so does all that starts threads of a runtime, which inherit it: at the
event loop's priority they would make every call wait. What comes before does not: torch holds the interpreter's lock
most of that time, so the event loop must wait, and longer the less processor time the load gets.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from linnaeus.models.manifest import ManifestError, read_manifest
from linnaeus.server.config.model_settings import CONFIG_FILE, ModelSettings
from linnaeus.server.errors import ModelRefused, StartupError
from linnaeus.server.model_store.model_folders import VersionFolder
from linnaeus.server.process.daemon_threads import run_in_thread
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.process.thread_priority import lower_priority
from linnaeus.server.runtime.device import CoreShare, release_freed_memory, resolve_devices
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.scheduling import LaneLimits, LatencyTable

logger = logging.getLogger(__name__)

# The name of loads in reports of faults.
LOADER_PART = "loader"


@dataclass(frozen=True, slots=True)
class LoadContext:
    """The circumstances of a load: whether other models are served, and the version to replace.

    Attributes:
        busy: whether models are served during the load.
        old_sha256: SHA-256 of the replaced version's model files; empty if none is replaced. The model itself is left
            out, because the loading thread would keep it alive.
        old_batch_size: maximum batch size of the replaced version.
    """

    busy: bool = False
    old_sha256: str = ""
    old_batch_size: int = 0


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version that is loaded on its devices, checked and warmed up.

    Attributes:
        folder: folder of the version.
        settings: the model's settings.
        models: one model for each device.
        seconds: time taken to load it.
        is_same: whether its model files equal those of the version it replaces.
    """

    folder: VersionFolder
    settings: ModelSettings
    models: tuple[Model, ...]
    seconds: float
    is_same: bool


class Loader:
    """Loads one version at a time, on a thread for each load. Called on the event loop's thread.

    Cancelling `load` does not stop the loading thread, nor does a load that hangs keep the process from ending. A fault
    is reported and refuses the version, whatever it is.

    Args:
        intra_op_threads: torch threads of one operation on a CPU; 0 for one per core.
        clock: monotonic time in seconds.
        supervisor: receives faults of loads.
        cache_folder: where compiled models and choices are kept between starts; empty for nowhere.
    """

    def __init__(
        self, intra_op_threads: int, clock: Callable[[], float], supervisor: Supervisor, cache_folder: str = ""
    ) -> None:
        self._threads = intra_op_threads
        self._clock = clock
        self._supervisor = supervisor
        self._cache_folder = cache_folder
        self._lock = asyncio.Lock()

    async def load(self, folder: VersionFolder, settings: ModelSettings, context: LoadContext) -> LoadedVersion:
        """Loads, checks and warms up a version on each of its devices.

        Args:
            folder: folder of the version.
            settings: the model's settings.
            context: circumstances of the load.

        Raises:
            ModelRefused: if a check fails, memory runs out or the model raises.
        """
        async with self._lock:
            # A new thread for each load: a thread that lowered its priority cannot raise it again.
            # Returned in a list, not as the thread's result: a thread of low priority may sleep for seconds after it
            # set its result, and would keep the models in memory until then.
            loaded: list[LoadedVersion] = []
            try:
                await run_in_thread("linnaeus-load", lambda: loaded.append(self._load(folder, settings, context)))
            except RuntimeError as error:  # the process may have no more threads
                raise self._refusal(folder, error) from None
            return loaded.pop()

    async def release(self, models: list[Model]) -> None:
        """Closes models that are no longer run and frees their memory; empties the list."""
        await run_in_thread("linnaeus-release", lambda: _release(models))

    def _load(self, folder: VersionFolder, settings: ModelSettings, context: LoadContext) -> LoadedVersion:
        started = self._clock()
        try:
            devices = {device: CoreShare(device, self._threads) for device in devices_of(settings)}
            is_same = bool(context.old_sha256) and _digest(folder) == context.old_sha256
            size = settings.max_batch_size or (context.old_batch_size if is_same else 0)
            options = self._options_of(settings)
            models = load_on_each(folder, devices, size, context.busy, options, cache(lower_priority))
        except (ModelRefused, MemoryError) as error:
            raise ModelRefused(str(error) or "there is too little memory") from None
        except BaseException as error:  # torch may raise anything on a malformed file: that refuses the version
            raise self._refusal(folder, error) from None
        return LoadedVersion(folder, settings, tuple(models), self._clock() - started, is_same)

    def _options_of(self, settings: ModelSettings) -> LoadOptions:
        return LoadOptions(
            runtime=settings.runtime,
            precision=settings.precision,
            cuda_graphs=settings.cuda_graphs,
            memory_factor=settings.runtime_memory_factor,
            cache_folder=self._cache_folder,
        )

    def _refusal(self, folder: VersionFolder, error: BaseException) -> ModelRefused:
        reference = self._supervisor.report(LOADER_PART, error, f"loading {folder.model}/{folder.version}")
        return ModelRefused(f"loading it failed, and the log says why (log reference {reference})")


def devices_of(settings: ModelSettings) -> list[Any]:
    """Returns the devices that a model's settings name, without duplicates.

    Raises:
        ModelRefused: if a device does not exist.
    """
    try:
        return resolve_devices(",".join(settings.devices))
    except StartupError as error:
        raise ModelRefused(f"{CONFIG_FILE}: devices: {error}") from None


def load_on_each(
    folder: VersionFolder,
    devices: Mapping[Any, CoreShare],
    max_batch_size: int,
    busy: bool = False,
    options: LoadOptions | None = None,
    before_warm_up: Callable[[], None] = lambda: None,
) -> list[Model]:
    """Loads, checks and warms up a version on each device in turn. Takes seconds.

    Args:
        folder: folder of the version.
        devices: the devices, each with its share of the cores.
        max_batch_size: largest batch size; 0 to determine it.
        busy: whether other models are served during the load.
        options: how it is to be computed; with `auto`, each device chooses for itself. The loader sets the cores.
        before_warm_up: see `load_model`.

    Raises:
        ModelRefused: if a check fails.
    """
    models: list[Model] = []
    with ExitStack() as close_on_failure:
        for device, cores in devices.items():
            clock = cores.take_one() if busy else cores.take_all()
            shared = replace(options or LoadOptions(), threads=max(1, cores.threads), on_one_core=busy)
            model = load_model(folder.path, device, max_batch_size, clock, before_warm_up, shared, folder.served_as)
            models.append(model)
            close_on_failure.callback(models[-1].close)
            _share_cores(models[-1], cores, busy)
            models[-1].settle()
        close_on_failure.pop_all()
    return models


def lane_parameters(models: Sequence[Model], settings: ModelSettings) -> tuple[LaneLimits, dict[str, LatencyTable]]:
    """Returns the parameters of a version's lane: its limits, and the latency table of each device by device name."""
    is_short = all(model.is_short for model in models)
    limits = LaneLimits(
        max_batch_size=min(model.max_batch_size for model in models),
        max_queue_size=settings.max_queue_size,
        max_queue_delay_seconds=settings.max_queue_delay_seconds,
        weight=settings.weight,
        priority_weights=settings.priority_weights,
        # Two short batches at once would take the processor time that the event loop needs to admit the next images.
        instances=settings.instances or (1 if is_short else min(model.most_at_once for model in models)),
        is_short=is_short,
    )
    timings = {str(model.device): {timing.size: timing.seconds for timing in model.timings} for model in models}
    return limits, {name: LatencyTable(seconds) for name, seconds in timings.items()}


def _share_cores(model: Model, cores: CoreShare, busy: bool) -> None:
    """Times a model on one core if its runs on all cores are short; keeps these timings if they are short too."""
    if cores.are_short(model.timings[-1].seconds):
        model.keep_cores(1, 1)
        timings = model.warm_up(False, cores.take_short(busy))
        if cores.are_short(timings[-1].seconds):
            model.is_short, model.timings = True, timings
            return
    model.keep_cores(max(1, cores.threads), max(1, cores.threads // 2))


def log_ready(loaded: LoadedVersion) -> None:
    """Logs that a version is served, its speed by batch size and its specialisation on each device."""
    folder = loaded.folder
    for model in loaded.models:
        speeds = ", ".join(f"{timing.size}: {timing.images_per_second:.0f}/s" for timing in model.timings)
        logger.info(
            "model %s/%d is ready on %s after %.1f s (images a second by batch size: %s)",
            *(folder.model, folder.version, model.device, loaded.seconds, speeds),
        )
        made = model.specialisation
        logger.info(
            "model %s/%d is computed by %s in %s on %s, %s: %s; %s",
            *(folder.model, folder.version, made.runtime, made.precision, made.device, made.memory_format),
            *(made.runtime_reason, made.precision_reason),
        )


def _digest(folder: VersionFolder) -> str:
    try:
        return read_manifest(folder.path).sha256
    except ManifestError as error:
        raise ModelRefused(str(error)) from None


def _release(models: list[Model]) -> None:
    while models:
        models.pop().close()  # no local variable may refer to the last model
    release_freed_memory()
