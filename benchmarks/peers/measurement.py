"""One spell of load on one server, and what is told of it."""

from dataclasses import dataclass

from benchmarks.common.process_usage import processor_seconds
from benchmarks.peers import stream_load as peers_load
from benchmarks.peers.servers import Contender
from benchmarks.peers.stream_load import Job


@dataclass(frozen=True, slots=True)
class Way:
    """How a server is called.

    Attributes:
        contender: the server.
        how: as it is printed.
        job: the messages.
        callers: messages under way at once.
    """

    contender: Contender
    how: str
    job: Job
    callers: int

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"{self.contender.name}, {self.how}"


@dataclass(frozen=True, slots=True)
class Spell:
    """What a spell showed.

    Attributes:
        rate: images a second.
        p50, p99: seconds from a message to its answer.
        cost: the server's processor seconds an image.
        batch: images that shared a run, in the mean.
        busy: how much of a core the caller took.
    """

    rate: float
    p50: float
    p99: float
    cost: float
    batch: float
    busy: float


def measure(way: Way, seconds: float) -> Spell:
    """Runs a spell; what ends after it counts for the server's cost, as does what it did for it.

    Raises:
        OSError, RuntimeError: see `peers_load.run`; or nothing was answered.
    """
    spent, (images, runs) = processor_seconds(way.contender.process), way.contender.images_and_runs()
    answers = peers_load.run(way.contender.target, way.job, way.callers, seconds)
    spent = processor_seconds(way.contender.process) - spent
    images, runs = (now - then for now, then in zip(way.contender.images_and_runs(), (images, runs), strict=True))
    if not answers.latencies or not images or not runs:
        raise RuntimeError(f"{way.name}: {len(answers.latencies)} answers, {images} images, {runs} runs in a spell")
    ranked = sorted(answers.latencies)
    return Spell(
        rate=len(ranked) * way.job.images / answers.seconds,
        p50=ranked[len(ranked) // 2],
        p99=ranked[len(ranked) * 99 // 100],
        cost=spent / images,
        batch=images / runs,
        busy=answers.busy,
    )
