"""Counts what was answered and where the time went, as the protocol's clients read it.

Every image is a request of its own, whichever service brought it. All figures are those of the engine's own reports.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.requests.request import BatchReport


@dataclass(slots=True)
class _Tally:
    """One version's figures, but for its name; `by_size` are those of its batches."""

    stats: kserve.ModelStatistics = field(default_factory=kserve.ModelStatistics)
    by_size: dict[int, kserve.InferBatchStatistics] = field(default_factory=dict)


class Statistics:
    """All versions' figures since the server started. An engine's `Observer`; belongs to the event loop's thread.

    Args:
        clock: seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._tallies: dict[tuple[str, int], _Tally] = {}

    def batch(self, report: BatchReport) -> None:
        """A batch came back."""
        tally = self._tally(report.model, report.version)
        if report.size:
            _add_run(tally, report)
        if report.requests:
            _add_answers(tally.stats, report)
            tally.stats.last_inference = round(self._clock() * 1000)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """A request got no answer; one for a version that there is not counts for none."""
        if version:
            _add(self._tally(model, version).stats.inference_stats.fail, [seconds])

    def cancelled(self, model: str, stage: str) -> None:
        """A caller who left was neither served nor failed."""

    def load_failed(self, model: str) -> None:
        """The index tells of it."""

    def of(self, model: str, version: int, name: str) -> kserve.ModelStatistics:
        """A version's figures under that name; all 0 if nothing happened yet."""
        tally = self._tallies.get((model, version), _Tally())
        told = kserve.ModelStatistics(name=name, version=str(version))
        told.MergeFrom(tally.stats)
        told.batch_stats.extend(tally.by_size[size] for size in sorted(tally.by_size))
        return told

    def _tally(self, model: str, version: int) -> _Tally:
        return self._tallies.setdefault((model, version), _Tally())


def _add_run(tally: _Tally, report: BatchReport) -> None:
    tally.stats.execution_count += 1
    if report.size not in tally.by_size:
        tally.by_size[report.size] = kserve.InferBatchStatistics(batch_size=report.size)
    batch = tally.by_size[report.size]
    _add(batch.compute_input, [sum(request.decode_seconds for request in report.requests)])
    _add(batch.compute_infer, [report.inference_seconds])
    _add(batch.compute_output, [max((request.respond_seconds for request in report.requests), default=0.0)])


def _add_answers(stats: kserve.ModelStatistics, report: BatchReport) -> None:
    stats.inference_count += len(report.requests)
    _add(stats.inference_stats.success, [request.total_seconds for request in report.requests])
    _add(stats.inference_stats.queue, [request.queue_seconds for request in report.requests])
    _add(stats.inference_stats.compute_input, [request.decode_seconds for request in report.requests])
    _add(stats.inference_stats.compute_infer, [request.inference_seconds for request in report.requests])
    _add(stats.inference_stats.compute_output, [request.respond_seconds for request in report.requests])


def _add(duration: kserve.StatisticDuration, seconds: Iterable[float]) -> None:
    """Adds each to the count and all to the time; a clock that stood still may have been read a little early."""
    times = list(seconds)
    duration.count += len(times)
    duration.ns += max(round(sum(times) * 1e9), 0)
