"""One measurement of one server under load: what each of its processes spends on an image, by stage."""

import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.common.process_usage import machine_processor_seconds, processor_seconds
from benchmarks.common.server_processes import (
    DECODERS,
    ENGINE,
    EVENT_LOOP,
    FRONT_END,
    Stage,
    spent_seconds,
    thread_times,
)
from benchmarks.front_ends.capacity import ImageCost
from benchmarks.peers.measurement import Scenario, measure
from benchmarks.peers.servers import RunningServer


@dataclass(frozen=True, slots=True)
class StageMeasurement:
    """Figures of one round.

    Attributes:
        rate: images a second.
        stages: processor seconds of one image, by stage.
        caller: processor seconds of the load generator for one image.
        batch_size: mean number of images in a batch.
        batch_seconds: mean duration of a batch, as the server's statistics have it.
        others_cores: cores that were busy with neither the server nor the load generator.
    """

    rate: float
    stages: Mapping[Stage, float]
    caller: float
    batch_size: float
    batch_seconds: float
    others_cores: float

    def of(self, role: str, kind: str | None = None) -> float:
        """Returns the processor seconds of one image in the processes of a role, or in one kind of their threads."""
        return sum(
            seconds for (owner, thread), seconds in self.stages.items() if owner == role and kind in (None, thread)
        )

    @property
    def beyond_decoding(self) -> float:
        """Processor seconds of one image in its front end, less those of the decoders."""
        return self.of(FRONT_END) - self.of(FRONT_END, DECODERS)

    @property
    def server(self) -> float:
        """Processor seconds of one image in all processes of the server."""
        return sum(self.stages.values())


def image_cost(rounds: Sequence[StageMeasurement]) -> ImageCost:
    """Returns what the computed capacity needs: medians of the rounds."""
    return ImageCost(
        engine=median(each.of(ENGINE) for each in rounds),
        engine_loop=median(each.of(ENGINE, EVENT_LOOP) for each in rounds),
        front_end=median(each.of(FRONT_END) for each in rounds),
        front_end_loop=median(each.of(FRONT_END, EVENT_LOOP) for each in rounds),
        caller=median(each.caller for each in rounds),
    )


def measure_stages(scenario: Scenario, seconds: float, number: int) -> StageMeasurement:
    """Sends load for `seconds` and measures what it costs; see `benchmarks.peers.measurement.measure`."""
    server = scenario.server
    statistics, caller, others = server.statistics(), _load_generators_seconds(), _others_seconds(server)
    threads, started = thread_times(server.process), time.monotonic()
    measured = measure(scenario, seconds, number)
    spent, elapsed = spent_seconds(threads, thread_times(server.process)), time.monotonic() - started
    caller, others = _load_generators_seconds() - caller, _others_seconds(server) - others
    counted = server.statistics() - statistics
    return StageMeasurement(
        rate=measured.rate,
        stages={stage: seconds / counted.images for stage, seconds in spent.items()},
        caller=caller / counted.images,
        batch_size=measured.batch_size,
        batch_seconds=counted.batch_seconds / counted.batches,
        others_cores=others / elapsed,
    )


def _load_generators_seconds() -> float:
    """Returns the processor time of child processes that have ended: h2load's, as the servers go on."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def _others_seconds(server: RunningServer) -> float:
    """Returns the processor time of all that is neither the server nor this process and its children."""
    ours = processor_seconds(server.process) + _load_generators_seconds() + time.process_time()
    return machine_processor_seconds() - ours
