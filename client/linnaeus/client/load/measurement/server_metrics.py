"""Reads the server's Prometheus metrics before and after a measurement, and computes the difference.

Relies on the names and labels of metrics that the server documents.
"""

import re
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import ServerView

METRICS_PORT = 8002
TIMEOUT_SECONDS = 5.0
_HOST = re.compile(r"(?:(?:dns|ipv4|ipv6):(?://[^/]*/)?)?(?P<host>\[[^\]]+\]|[^:/,\s\[\]]+)(?::\d+)?(?:,.*)?")
# Uses no proxy: one set for the web in the environment must not intercept requests to a service next door.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MetricsUnreadable(Exception):
    """The metrics could not be read; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's counters at one moment; they never decrease.

    Attributes:
        stage_sums, stage_counts: seconds and calls by stage.
        batch_sum, batch_count: images and batches.
        batches_up_to: cumulative number of batches by the upper bound of their size, in ascending order.
        processor_seconds: the CPU time of the server's process; None if it is unknown.
    """

    stage_sums: Mapping[str, float]
    stage_counts: Mapping[str, float]
    batch_sum: float
    batch_count: float
    batches_up_to: Mapping[str, float]
    processor_seconds: float | None


def metrics_url(plan: Plan) -> str:
    """Returns the address of the metrics; empty if none are to be read.

    Raises:
        MetricsUnreadable: if the address cannot be derived from the target.
    """
    if plan.metrics_url is not None:
        return plan.metrics_url
    match = _HOST.fullmatch(plan.target)
    if match is None:
        raise MetricsUnreadable(f"the metrics' address does not follow from {plan.target!r}: give it by --metrics-url")
    return f"http://{match['host']}:{METRICS_PORT}/metrics"


def read_sample(url: str, model: str, version: str) -> Sample:
    """Reads the counters of one model over HTTP, or of all models if the name is empty.

    Raises:
        MetricsUnreadable: if the server cannot be reached or answers something else, or a package is missing.
    """
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as response:
            text = response.read().decode("utf-8")
        return parse_sample(text, model, version)
    except OSError as error:
        cause = getattr(error, "reason", error)  # urllib wraps the error
        reason = getattr(cause, "strerror", None) or cause
        raise MetricsUnreadable(f"the server's metrics at {url} cannot be read: {reason}") from None
    except ValueError as error:
        raise MetricsUnreadable(f"what {url} answers is no Prometheus text: {error}") from None


def parse_sample(text: str, model: str, version: str) -> Sample:
    """Reads Prometheus' text format.

    Raises:
        ValueError: if the text is malformed.
        MetricsUnreadable: if the package that parses it is missing.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    stages: dict[str, defaultdict[str, float]] = {"sum": defaultdict(float), "count": defaultdict(float)}
    bounds: defaultdict[str, float] = defaultdict(float)
    processor_seconds = None
    for name, labels, value in _samples(text):
        if name == "process_cpu_seconds_total":
            processor_seconds = value
        elif not name.startswith("linnaeus_") or not _matches(labels, model, version):
            continue
        elif name == "linnaeus_batch_size_bucket":
            bounds[labels.get("le", "+Inf")] += value
        elif name.startswith("linnaeus_stage_seconds_") and (kind := name.rpartition("_")[2]) in stages:
            stages[kind][labels.get("stage", "")] += value
        else:
            sums[name] += value
    ascending = dict(sorted(bounds.items(), key=lambda bound: float(bound[0])))
    images, batches = sums["linnaeus_batch_size_sum"], sums["linnaeus_batch_size_count"]
    return Sample(stages["sum"], stages["count"], images, batches, ascending, processor_seconds)


def server_view(before: Sample, after: Sample) -> ServerView:
    """Returns what the server did between two samples."""
    batches = after.batch_count - before.batch_count
    processor_seconds = None
    if before.processor_seconds is not None and after.processor_seconds is not None:
        processor_seconds = after.processor_seconds - before.processor_seconds
    return ServerView(
        stage_seconds=dict(_stage_means(before, after)),
        mean_batch_size=(after.batch_sum - before.batch_sum) / batches if batches > 0 else None,
        batch_sizes=_batch_sizes(before, after),
        processor_seconds=processor_seconds,
    )


def _stage_means(before: Sample, after: Sample) -> Iterator[tuple[str, float]]:
    for stage, calls in after.stage_counts.items():
        new_calls = calls - before.stage_counts.get(stage, 0.0)
        if new_calls > 0:
            yield stage, (after.stage_sums[stage] - before.stage_sums.get(stage, 0.0)) / new_calls


def _batch_sizes(before: Sample, after: Sample) -> dict[str, int]:
    sizes, smaller = {}, 0.0
    for bound, batches in after.batches_up_to.items():
        cumulative = batches - before.batches_up_to.get(bound, 0.0)
        sizes[bound] = round(cumulative - smaller)
        smaller = cumulative
    return sizes


def _matches(labels: Mapping[str, str], model: str, version: str) -> bool:
    is_model = not model or labels.get("model") == model
    return is_model and (not version or labels.get("version") == version)


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError:
        raise MetricsUnreadable("the server's metrics need the extra `load`: pip install 'linnaeus[load]'") from None
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
