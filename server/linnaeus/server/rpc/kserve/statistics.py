"""The inference statistics of the protocol: counts and cumulative times per version, from the engine's reports.

Every image counts as one request, whichever service received it.
"""

import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.requests.request import BatchReport


@dataclass(slots=True)
class _Tally:
    """The statistics of one version without its name; `by_size` has those of its batches, by size."""

    stats: kserve.ModelStatistics = field(default_factory=kserve.ModelStatistics)
    by_size: dict[int, kserve.InferBatchStatistics] = field(default_factory=dict)


class Statistics:
    """An `Observer` that keeps the statistics of all versions since the start. Belongs to the event loop's thread.

    Args:
        clock: the wall clock, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tallies: dict[tuple[str, int], _Tally] = {}

    def batch(self, report: BatchReport) -> None:
        """Adds a finished batch and its answered requests."""
        tally = self._tally(report.model, report.version)
        if report.size:
            _add_batch(tally, report)
        if report.requests:
            _add_requests(tally.stats, report)
            tally.stats.last_inference = round(self._clock() * 1000)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Adds a failed request; one for an unknown version is not counted."""
        if version:
            _add(self._tally(model, version).stats.inference_stats.fail, [seconds])

    def cancelled(self, model: str, stage: str) -> None:
        """Does nothing: a cancelled request counts neither as a success nor as a failure."""

    def load_failed(self, model: str) -> None:
        """Does nothing: the repository index reports failed loads."""

    async def read(self, model: str, version: int, name: str) -> kserve.ModelStatistics:
        """Returns the same as `of`."""
        return self.of(model, version, name)

    def of(self, model: str, version: int, name: str) -> kserve.ModelStatistics:
        """Returns the statistics of a version under a given name; all 0 if it had no request yet."""
        tally = self._tallies.get((model, version), _Tally())
        stats = kserve.ModelStatistics(name=name, version=str(version))
        for duration in kserve.InferStatistics.DESCRIPTOR.fields_by_name:
            getattr(stats.inference_stats, duration).SetInParent()  # readers of JSON count on each of them
        stats.MergeFrom(tally.stats)
        stats.batch_stats.extend(tally.by_size[size] for size in sorted(tally.by_size))
        return stats

    def _tally(self, model: str, version: int) -> _Tally:
        return self._tallies.setdefault((model, version), _Tally())


class RemoteStatistics:
    """The statistics that another process keeps.

    Args:
        count: returns the serialized statistics of a version under a name.
    """

    def __init__(self, count: Callable[[str, int, str], Awaitable[bytes]]) -> None:
        self._count = count

    async def read(self, model: str, version: int, name: str) -> kserve.ModelStatistics:
        """Returns the statistics of a version under a given name; all 0 if it had no request yet."""
        return kserve.ModelStatistics.FromString(await self._count(model, version, name))


def _add_batch(tally: _Tally, report: BatchReport) -> None:
    tally.stats.execution_count += 1
    if report.size not in tally.by_size:
        tally.by_size[report.size] = kserve.InferBatchStatistics(batch_size=report.size)
    batch = tally.by_size[report.size]
    _add(batch.compute_input, [sum(request.decode_seconds for request in report.requests)])
    _add(batch.compute_infer, [report.inference_seconds])
    _add(batch.compute_output, [max((request.respond_seconds for request in report.requests), default=0.0)])


def _add_requests(stats: kserve.ModelStatistics, report: BatchReport) -> None:
    stats.inference_count += len(report.requests)
    _add(stats.inference_stats.success, [request.total_seconds for request in report.requests])
    _add(stats.inference_stats.queue, [request.queue_seconds for request in report.requests])
    _add(stats.inference_stats.compute_input, [request.decode_seconds for request in report.requests])
    _add(stats.inference_stats.compute_infer, [request.inference_seconds for request in report.requests])
    _add(stats.inference_stats.compute_output, [request.respond_seconds for request in report.requests])


def _add(duration: kserve.StatisticDuration, seconds: Iterable[float]) -> None:
    """Adds durations. A sum below 0, from clock readings a little too early, counts as 0."""
    times = list(seconds)
    duration.count += len(times)
    duration.ns += max(round(sum(times) * 1e9), 0)
