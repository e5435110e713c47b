"""Brings version folders onto their devices, one after the other, on a thread of its own.

It knows nothing of what is served or wanted: a folder in, models with their lane out.
"""

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from linnaeus.models.manifest import ManifestError, read_manifest
from linnaeus.server.config.model_settings import CONFIG_FILE, ModelSettings
from linnaeus.server.errors import ModelRefused, StartupError
from linnaeus.server.model_store.repository import VersionFolder
from linnaeus.server.process.thread_priority import lower_priority
from linnaeus.server.runtime.device import CoreShare, release_freed_memory, resolve_devices
from linnaeus.server.runtime.model import Model, load_model
from linnaeus.server.scheduling import LaneLimits, LatencyTable

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoadContext:
    """What a version is loaded beside.

    Attributes:
        busy: whether models are served meanwhile.
        old_sha256: of the model.pt that it is to replace; empty if there is none. Not the model itself, which would
            live as long as the thread that loads.
        old_batch_size: how large the old one's batches may be.
    """

    busy: bool = False
    old_sha256: str = ""
    old_batch_size: int = 0


@dataclass(frozen=True, slots=True)
class LoadedVersion:
    """A version on its devices, checked and warm.

    Attributes:
        folder: where it came from.
        chosen: how it is to be served.
        models: one a device.
        seconds: how long loading took.
        is_same: whether it is the model that it replaces, file by file.
    """

    folder: VersionFolder
    chosen: ModelSettings
    models: tuple[Model, ...]
    seconds: float
    is_same: bool


class Loader:
    """The thread that loads. Whoever calls is on the event loop; a caller that leaves stops nothing.

    Args:
        intra_op_threads: of one operation on a CPU; 0 for one a core.
        clock: seconds.
    """

    def __init__(self, intra_op_threads: int, clock: Callable[[], float]) -> None:
        self._threads = intra_op_threads
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()

    async def load(self, folder: VersionFolder, chosen: ModelSettings, context: LoadContext) -> LoadedVersion:
        """Loads, checks and warms up a version on each of its devices.

        Raises:
            ModelRefused: a check fails, memory ran out, or the model raised.
        """
        async with self._one_at_a_time:
            # A new thread each time: one that has stepped back cannot step forth again.
            thread = ThreadPoolExecutor(1, "linnaeus-load")
            # Handed over in a list, not as the thread's result: a thread of low priority may sleep for seconds after
            # it set its result, and would keep the models in memory until then.
            loaded: list[LoadedVersion] = []
            try:
                await asyncio.get_running_loop().run_in_executor(
                    thread, lambda: loaded.append(self._load(folder, chosen, context))
                )
            finally:
                thread.shutdown(wait=False)
            return loaded.pop()

    async def release(self, models: list[Model]) -> None:
        """Takes models that nothing runs any more, ends their threads, and returns their memory."""
        await asyncio.to_thread(_release, models)

    def _load(self, folder: VersionFolder, chosen: ModelSettings, context: LoadContext) -> LoadedVersion:
        started = self._clock()
        try:
            devices = {device: CoreShare(device, self._threads) for device in devices_of(chosen)}
            is_same = bool(context.old_sha256) and _digest(folder) == context.old_sha256
            size = chosen.max_batch_size or (context.old_batch_size if is_same else 0)
            models = load_on_each(folder, devices, size, context.busy, chosen.cuda_graphs, chosen.precision)
        except (ModelRefused, MemoryError) as error:
            raise ModelRefused(str(error) or "there is too little memory") from None
        except Exception as error:  # the boundary: whatever a file makes torch raise must not end the control
            reference = uuid.uuid4().hex[:12]
            logger.error("loading %s/%d failed [%s]", folder.model, folder.version, reference, exc_info=error)
            kind = type(error).__name__
            raise ModelRefused(f"loading it failed with {kind} (log reference {reference})") from None
        return LoadedVersion(folder, chosen, tuple(models), self._clock() - started, is_same)


def devices_of(chosen: ModelSettings) -> list[Any]:
    """The devices that a model names, each once.

    Raises:
        ModelRefused: one of them is not there.
    """
    try:
        return resolve_devices(",".join(chosen.devices))
    except StartupError as error:
        raise ModelRefused(f"{CONFIG_FILE}: devices: {error}") from None


def load_on_each(
    folder: VersionFolder,
    devices: Mapping[Any, CoreShare],
    max_batch_size: int,
    busy: bool = False,
    cuda_graphs: bool = False,
    precision: str = "float32",
) -> list[Model]:
    """Loads, checks and warms up a version on each device, one after the other. Takes seconds.

    Args:
        folder: the version.
        devices: with their cores.
        max_batch_size: 0 to find it.
        busy: whether other models are served meanwhile: this one then takes one core at most, and its batches are
            timed by its own work, as if all cores shared it. That is a little too hopeful, which corrects itself:
            what is let in is measured. Times that are too gloomy would refuse the very calls that prove them wrong.
            Warming up gives way to calls. What comes before does not: torch holds the interpreter's lock for most of
            it, so that the event loop waits until it is done, and the longer the less of a core it gets.
            On a GPU batches are timed by the clock on the wall, for no thread's clock sees it work.
        cuda_graphs: whether a GPU is to run it by recorded graphs.
        precision: what it is to compute in; each device finds its own with `auto`.

    Raises:
        ModelRefused: a check fails.
    """
    models: list[Model] = []
    stepped_back = False
    with ExitStack() as if_it_fails:
        for device, cores in devices.items():
            clock = cores.take_one() if busy else cores.take_all()
            # What a GPU is given its orders by starts here, and steps back as whatever else computes, now or later.
            steps_back = (busy or device.type == "cuda") and not stepped_back
            before_warm_up = lower_priority if steps_back else _no_op
            models.append(
                load_model(folder.path, device, max_batch_size, clock, before_warm_up, cuda_graphs, precision)
            )
            if_it_fails.callback(models[-1].close)
            _give_one_core_to_short_runs(models[-1], cores, busy)
            stepped_back |= steps_back
        if_it_fails.pop_all()
    return models


def lane_parameters(models: Sequence[Model], chosen: ModelSettings) -> tuple[LaneLimits, dict[str, LatencyTable]]:
    """What the queue is to know of a version: its limits, and how long its batches take on each device."""
    limits = LaneLimits(
        max_batch_size=min(model.max_batch_size for model in models),
        max_queue_size=chosen.max_queue_size,
        max_queue_delay_seconds=chosen.max_queue_delay_seconds,
        weight=chosen.weight,
        priority_weights=chosen.priority_weights,
        # Two short ones at once would take from the event loop what it needs to bring the next pictures.
        instances=chosen.instances or int(all(model.is_short for model in models)),
    )
    timings = {str(model.device): {timing.size: timing.seconds for timing in model.timings} for model in models}
    return limits, {name: LatencyTable(seconds) for name, seconds in timings.items()}


def _give_one_core_to_short_runs(model: Model, cores: CoreShare, busy: bool) -> None:
    """What is not short on all cores is tried no further; times on one core are then the ones that count."""
    if not cores.are_short(model.timings[-1].seconds):
        return
    alone = model.warm_up(False, cores.take_short(busy))
    if cores.are_short(alone[-1].seconds):
        model.is_short, model.timings = True, alone
        model.runs_inline = cores.runs_inline(alone[0].seconds)


def log_ready(loaded: LoadedVersion) -> None:
    """Says that a version is served, and how fast it is."""
    folder = loaded.folder
    for model in loaded.models:
        speeds = ", ".join(f"{timing.size}: {timing.images_per_second:.0f}/s" for timing in model.timings)
        logger.info(
            "model %s/%d is ready on %s after %.1f s (images a second by batch size: %s)",
            *(folder.model, folder.version, model.device, loaded.seconds, speeds),
        )
        made = model.specialisation
        logger.info(
            "model %s/%d computes in %s on %s, %s: %s",
            *(folder.model, folder.version, made.precision, made.device, made.memory_format, made.reason),
        )


def _no_op() -> None:
    """There is nobody to give way to, or it was done."""


def _digest(folder: VersionFolder) -> str:
    try:
        return read_manifest(folder.path).sha256
    except ManifestError as error:
        raise ModelRefused(str(error)) from None


def _release(models: list[Model]) -> None:
    while models:
        models.pop().close()  # no name here holds the last one
    release_freed_memory()
