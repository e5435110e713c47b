"""One exposition of the metrics of several processes.

`snapshot` packs the registry of a child process; `MergedMetrics` merges the snapshots of all children in their parent.
Knows neither how snapshots travel nor who starts and ends processes.
"""

import operator
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

# Families of name, type, documentation and samples; samples of name, labels and value.
_Packed = list[tuple[str, str, str, list[tuple[str, dict[str, str], float]]]]

_COUNTING_TYPES = ("counter", "histogram", "summary")
_MINIMA = ("process_start_time_seconds", "process_max_fds")


def snapshot(registry: CollectorRegistry) -> bytes:
    """Returns all samples of a registry, packed for `MergedMetrics.update`; any thread may call it.

    Exemplars, timestamps and units are left out.
    """
    packed: _Packed = [
        (
            family.name,
            family.type,
            family.documentation,
            [(name, labels, float(value)) for name, labels, value, *_ in family.samples],
        )
        for family in registry.collect()
    ]
    return msgspec.msgpack.encode(packed)


class MergedMetrics(Collector):
    """The metrics of all processes of a server. Any thread may call its methods.

    Counters, histograms and summaries are summed over running and ended processes; gauges are summed over running
    processes, except that `process_start_time_seconds` and `process_max_fds` are the minimum and `*_info` the maximum.

    Invariants:
        - No counter falls when a process ends or its successor starts, not even by a rounding error.
        - Families, and the samples of a family, are in the order in which the processes have them, each once. So the
          buckets of a histogram stay in order, if its bounds are the same in all processes.

    Requirements:
        - A process and its successor have the same name: what has been counted is kept for each name, for ever.
        - `ended` is called after the last `update` of a process and before the first of its successor.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._histories: dict[str, _History] = {}

    def update(self, process: str, snapshot: bytes) -> None:
        """Replaces the last snapshot of a process.

        Args:
            process: the process's name, such as "engine" or "front-end 1".
            snapshot: what `snapshot` returned in that process.

        Raises:
            ValueError: if the snapshot cannot be decoded; the last one is kept.
        """
        running = _unpack(snapshot)
        with self._lock:
            ended = self._histories.get(process, _History()).ended
            self._histories[process] = _History(running, ended)

    def ended(self, process: str) -> None:
        """Keeps what a process counted, and drops its gauges; does nothing if it sent no snapshot."""
        with self._lock:
            if process in self._histories:
                families = self._histories[process].families()
                counted = [family for family in families if family.type in _COUNTING_TYPES]
                self._histories[process] = _History(ended=counted)

    def collect(self) -> Iterable[Metric]:
        """Returns one metric for each family; called on the scrape's thread."""
        with self._lock:
            histories = list(self._histories.values())
        return _merge(chain.from_iterable(history.families() for history in histories))


@dataclass(frozen=True, slots=True)
class _History:
    """The metrics of all processes that have had one name.

    Attributes:
        running: the last snapshot of the running process; empty if there is none.
        ended: what the ended processes counted.
    """

    running: Sequence[Metric] = ()
    ended: Sequence[Metric] = ()

    def families(self) -> Sequence[Metric]:
        """Returns the metrics of the running process and of the ended ones.

        The sum over names adds these sums. So it stays the same, to the last bit, when `ended` takes the place of both.
        """
        return _merge((*self.running, *self.ended)) if self.ended else self.running


def _unpack(snapshot: bytes) -> list[Metric]:
    families = []
    for name, kind, documentation, samples in msgspec.msgpack.decode(snapshot, type=_Packed):
        family = Metric(name, documentation, kind)
        family.samples = [Sample(*sample) for sample in samples]
        families.append(family)
    return families


def _merge(families: Iterable[Metric]) -> list[Metric]:
    by_name: dict[str, list[Metric]] = {}
    for family in families:
        by_name.setdefault(family.name, []).append(family)
    return [_merge_family(same) for same in by_name.values()]


def _merge_family(families: Sequence[Metric]) -> Metric:
    """Merges metrics of one name; name, type and documentation are the first one's."""
    first = families[0]
    combine = _combination(first)
    merged: dict[tuple[str, frozenset[tuple[str, str]]], Sample] = {}
    for name, labels, value, *_ in chain.from_iterable(family.samples for family in families):
        key = (name, frozenset(labels.items()))
        known = merged.get(key)
        merged[key] = Sample(name, labels, value if known is None else combine(known.value, value))
    result = Metric(first.name, first.documentation, first.type)
    result.samples = list(merged.values())
    return result


def _combination(family: Metric) -> Callable[[float, float], float]:
    """Returns how the values of one sample in two processes become one."""
    if family.name in _MINIMA:
        return min
    if family.type == "info" or family.name.endswith("_info"):
        return max
    return operator.add
