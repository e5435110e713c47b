"""Percentile curves out of an HdrHistogram's text, on the axis that makes tails visible.

It must not know how curves are drawn.
"""

from dataclasses import dataclass

from linnaeus.client.load.measurement.histograms import Histogram

_POINTS_A_DECADE = 60
# Beyond this percentile a curve shows single calls, not a distribution.
_CALLS_BEYOND_THE_END = 10
_LEAST_END = 1000.0


@dataclass(frozen=True, slots=True)
class Curve:
    """Latency by percentile.

    Attributes:
        inverse: 1 / (1 - share of calls): 2 is the median, 100 the 99th percentile; from 2, increasing.
        milliseconds: the latency that this share of the calls stayed within.
    """

    inverse: tuple[float, ...]
    milliseconds: tuple[float, ...]


def percentile_curve(histogram: str) -> Curve:
    """The curve from the median to 99.9 %, and on as far as there are at least ten calls beyond.

    Args:
        histogram: `Latency.histogram`, of microseconds.

    Raises:
        ValueError: it is no histogram.
    """
    decoded = Histogram.from_text(histogram)
    end = _LEAST_END
    while len(decoded) / (end * 10) >= _CALLS_BEYOND_THE_END:
        end *= 10
    inverse = _even_steps(end)
    return Curve(inverse, tuple(1000 * decoded.at_percentile(100 * (1 - 1 / each)) for each in inverse))


def _even_steps(end: float) -> tuple[float, ...]:
    steps = []
    inverse = 2.0
    while inverse < end * 0.999:
        steps.append(inverse)
        inverse *= 10 ** (1 / _POINTS_A_DECADE)
    return (*steps, end)
