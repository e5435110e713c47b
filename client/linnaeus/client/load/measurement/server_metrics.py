"""Reads the server's own metrics before and after a spell, and what happened in between.

It must not know how the server makes them: names and labels are those the design page promises to outsiders.
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
# Through no proxy: one set for the web must not catch calls to a service next door.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class MetricsUnreadable(Exception):
    """The metrics could not be read; the message says why, in one sentence."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The server's counters at one moment; they only ever grow.

    Attributes:
        stage_sums, stage_counts: seconds and calls by stage.
        batch_sum, batch_count: images and batches.
        batches_up_to: batches by the upper bound of their size, all smaller ones included, lowest bound first.
        processor_seconds: None where the server does not tell.
    """

    stage_sums: Mapping[str, float]
    stage_counts: Mapping[str, float]
    batch_sum: float
    batch_count: float
    batches_up_to: Mapping[str, float]
    processor_seconds: float | None


def metrics_url_of(plan: Plan) -> str:
    """Where the plan's metrics are; empty where none are to be read.

    Raises:
        MetricsUnreadable: no address follows from the target.
    """
    if plan.metrics_url is not None:
        return plan.metrics_url
    match = _HOST.fullmatch(plan.target)
    if match is None:
        raise MetricsUnreadable(f"the metrics' address does not follow from {plan.target!r}: give it by --metrics-url")
    return f"http://{match['host']}:{METRICS_PORT}/metrics"


def read_sample(url: str, model: str, version: str) -> Sample:
    """Reads the counters of one model (of all if its name is empty) over HTTP.

    Raises:
        MetricsUnreadable: the server cannot be reached, answers something else, or a package is missing.
    """
    try:
        with _OPENER.open(url, timeout=TIMEOUT_SECONDS) as answer:
            text = answer.read().decode("utf-8")
        return parse_sample(text, model, version)
    except OSError as error:
        reason = getattr(error, "reason", error)  # urllib wraps what happened
        told = getattr(reason, "strerror", None) or reason
        raise MetricsUnreadable(f"the server's metrics at {url} cannot be read: {told}") from None
    except ValueError as error:
        raise MetricsUnreadable(f"what {url} answers is no Prometheus text: {error}") from None


def parse_sample(text: str, model: str, version: str) -> Sample:
    """Reads Prometheus text.

    Raises:
        ValueError: it is not that.
        MetricsUnreadable: the package that reads it is missing.
    """
    sums: defaultdict[str, float] = defaultdict(float)
    stages: dict[str, defaultdict[str, float]] = {"sum": defaultdict(float), "count": defaultdict(float)}
    bounds: defaultdict[str, float] = defaultdict(float)
    processor = None
    for name, labels, value in _samples(text):
        if name == "process_cpu_seconds_total":
            processor = value
        elif not name.startswith("linnaeus_") or not _is_of(labels, model, version):
            continue
        elif name == "linnaeus_batch_size_bucket":
            bounds[labels.get("le", "+Inf")] += value
        elif name.startswith("linnaeus_stage_seconds_") and (kind := name.rpartition("_")[2]) in stages:
            stages[kind][labels.get("stage", "")] += value
        else:
            sums[name] += value
    inorder = dict(sorted(bounds.items(), key=lambda bound: float(bound[0])))
    images, batches = sums["linnaeus_batch_size_sum"], sums["linnaeus_batch_size_count"]
    return Sample(stages["sum"], stages["count"], images, batches, inorder, processor)


def view_between(before: Sample, after: Sample) -> ServerView:
    """What the server did between two samples."""
    batches = after.batch_count - before.batch_count
    processor = None
    if before.processor_seconds is not None and after.processor_seconds is not None:
        processor = after.processor_seconds - before.processor_seconds
    return ServerView(
        stage_seconds=dict(_means(before, after)),
        mean_batch_size=(after.batch_sum - before.batch_sum) / batches if batches > 0 else None,
        batch_sizes=_batch_sizes(before, after),
        processor_seconds=processor,
    )


def _means(before: Sample, after: Sample) -> Iterator[tuple[str, float]]:
    for stage, calls in after.stage_counts.items():
        more = calls - before.stage_counts.get(stage, 0.0)
        if more > 0:
            yield stage, (after.stage_sums[stage] - before.stage_sums.get(stage, 0.0)) / more


def _batch_sizes(before: Sample, after: Sample) -> dict[str, int]:
    sizes, smaller = {}, 0.0
    for bound, batches in after.batches_up_to.items():
        up_to = batches - before.batches_up_to.get(bound, 0.0)
        sizes[bound] = round(up_to - smaller)
        smaller = up_to
    return sizes


def _is_of(labels: Mapping[str, str], model: str, version: str) -> bool:
    of_model = not model or labels.get("model") == model
    return of_model and (not version or labels.get("version") == version)


def _samples(text: str) -> Iterator[tuple[str, Mapping[str, str], float]]:
    try:
        from prometheus_client.parser import text_string_to_metric_families
    except ModuleNotFoundError:
        raise MetricsUnreadable("the server's metrics need the extra `load`: pip install 'linnaeus[load]'") from None
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
