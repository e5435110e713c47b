"""Latencies in an HdrHistogram: microseconds, three significant digits, up to an hour."""

import math
from typing import Self

from hdrh.histogram import HdrHistogram

from linnaeus.client.load.results import Latency

MIN_MICROSECONDS = 1
MAX_MICROSECONDS = 3_600_000_000
SIGNIFICANT_DIGITS = 3
_MICROSECONDS = 1e6


class Histogram:
    """Latencies in seconds; for one thread at a time.

    Latencies below a microsecond count as one microsecond, those above an hour as an hour.
    """

    def __init__(self) -> None:
        self._counts = HdrHistogram(MIN_MICROSECONDS, MAX_MICROSECONDS, SIGNIFICANT_DIGITS)
        self._sum_seconds = 0.0

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Reads what `text` returned; the mean then has only three significant digits.

        Raises:
            ValueError: if it is not a histogram.
        """
        histogram = cls()
        try:
            histogram._counts.decode_and_add(text.encode("ascii"))
        except Exception as error:  # the library raises zlib's, base64's and its own errors, which share no base
            raise ValueError(f"it is no HdrHistogram text: {error}") from None
        histogram._sum_seconds = histogram._counts.get_mean_value() * len(histogram) / _MICROSECONDS
        return histogram

    def __len__(self) -> int:
        return int(self._counts.get_total_count())

    def record(self, seconds: float) -> None:
        """Adds one latency."""
        self._sum_seconds += seconds
        microseconds = round(seconds * _MICROSECONDS)
        self._counts.record_value(min(max(microseconds, MIN_MICROSECONDS), MAX_MICROSECONDS))

    def at_percentile(self, percentile: float) -> float:
        """Returns the smallest latency in seconds that this percentage does not exceed; 0.0 if there is none."""
        return self.at_rank(math.ceil(percentile / 100.0 * len(self) - 1e-9))

    def at_rank(self, rank: int) -> float:
        """Returns the latency in seconds with this rank, from 1, in ascending order; 0.0 if there is none."""
        total = len(self)
        if not total:
            return 0.0
        return float(self._counts.get_value_at_percentile(100.0 * rank / total)) / _MICROSECONDS

    def text(self) -> str:
        """Returns HdrHistogram's compressed text."""
        return str(self._counts.encode().decode("ascii"))

    def summary(self) -> Latency:
        """Returns the mean, the usual percentiles and the histogram."""
        return Latency(
            mean=self._sum_seconds / len(self) if len(self) else 0.0,
            p50=self.at_percentile(50),
            p90=self.at_percentile(90),
            p95=self.at_percentile(95),
            p99=self.at_percentile(99),
            p99_9=self.at_percentile(99.9),
            max=self._counts.get_max_value() / _MICROSECONDS if len(self) else 0.0,
            histogram=self.text(),
        )
