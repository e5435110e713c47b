"""Percentile curves from the text of an HdrHistogram, on an axis that shows the tail."""

from dataclasses import dataclass

from linnaeus.client.load.measurement.histograms import Histogram

_POINTS_PER_DECADE = 60
# With fewer calls beyond it, a percentile shows single calls, not a distribution.
_MIN_CALLS_BEYOND = 10
_MIN_END = 1000.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Latency by percentile.

    Attributes:
        inverse: 1 / (1 - share of calls): 2 is the median, 100 the 99th percentile; from 2, increasing.
        milliseconds: the latency that this share of the calls did not exceed.
    """

    inverse: tuple[float, ...]
    milliseconds: tuple[float, ...]


def percentile_curve(histogram: str) -> Curve:
    """Returns the curve from the median to 99.9 %, and beyond as long as at least ten calls are beyond.

    Args:
        histogram: `Latency.histogram`, in microseconds.

    Raises:
        ValueError: if it is not a histogram.
    """
    decoded = Histogram.from_text(histogram)
    end = _MIN_END
    while len(decoded) / (end * 10) >= _MIN_CALLS_BEYOND:
        end *= 10
    inverse = _geometric_steps(end)
    return Curve(inverse, tuple(1000 * decoded.at_percentile(100 * (1 - 1 / each)) for each in inverse))


def _geometric_steps(end: float) -> tuple[float, ...]:
    steps = []
    inverse = 2.0
    while inverse < end * 0.999:
        steps.append(inverse)
        inverse *= 10 ** (1 / _POINTS_PER_DECADE)
    return (*steps, end)
