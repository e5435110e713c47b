"""The counter of lines that the event log lost."""

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from linnaeus.server.requests.event_log import EventLog


class EventLogCounter(Collector):
    """Counts the lines of `--trace` that could not be written."""

    def __init__(self, event_log: EventLog) -> None:
        self._event_log = event_log

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Yields the counter; called on the scrape's thread."""
        yield CounterMetricFamily(
            "linnaeus_trace_lost_lines",
            "Lines of the event log that could not be written.",
            value=self._event_log.lost_lines,
        )
