"""The metrics of a repository that is copied from a bucket."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from linnaeus.server.model_store.repository_statistics import RepositoryStatistics


class RepositoryCounters(Collector):
    """Exposes what was copied."""

    def __init__(self, statistics: RepositoryStatistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterable[Metric]:
        """Yields the metrics; called on the scrape's thread."""
        now = self._statistics
        yield CounterMetricFamily("linnaeus_repository_versions", "Versions that were copied.", value=now.versions)
        yield CounterMetricFamily("linnaeus_repository_bytes", "Bytes that came of versions.", value=now.bytes)
        yield CounterMetricFamily(
            "linnaeus_repository_failures",
            "Listings, versions and config.toml files that could not be read or were refused.",
            value=now.failures,
        )
        yield GaugeMetricFamily("linnaeus_repository_copy_bytes", "Bytes of the copy.", value=now.copy_bytes)
        if now.is_followed:
            yield GaugeMetricFamily(
                "linnaeus_repository_last_success_timestamp_seconds",
                "When the repository was last listed; 0 for never.",
                value=now.succeeded_at,
            )
