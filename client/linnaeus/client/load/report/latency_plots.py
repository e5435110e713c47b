"""The plots of one measurement: latency distribution, latency and throughput over time, batch sizes."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from linnaeus.client.load.report.percentile_curve import Curve, percentile_curve
from linnaeus.client.load.report.svg_plots import SvgPlot, colour, render_plot
from linnaeus.client.load.results import Measurement, Second

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTCOMES = ("ok", "late", "refused", "failed")
_TICKS = {2: "50", 10: "90", 20: "95", 100: "99", 1000: "99.9", 10_000: "99.99", 100_000: "99.999"}
# More names of size classes do not fit side by side.
_MAX_LEVEL_NAMES = 6
# With a larger ratio of the largest to the smallest value, a linear axis would show only the largest ones.
_MIN_LOGARITHMIC_RATIO = 30.0


def latency_distribution(measurement: Measurement) -> SvgPlot:
    """Plots latency by percentile; requires answered calls."""
    return distribution_plot("latency-distribution", {"": percentile_curve(measurement.latency.histogram)})


def distribution_plot(name: str, curves: Mapping[str, Curve], title: str = "Latency distribution") -> SvgPlot:
    """Plots latency by percentile, one line a label; an empty label has no legend.

    Args:
        name: unique on the page.
        curves: at most two, by label.
        title: shown above the plot.
    """

    def draw(axes: "Axes") -> None:
        for (label, curve), line in zip(curves.items(), ("median", "worst"), strict=False):
            axes.plot(curve.inverse, curve.milliseconds, color=colour(line), label=label or None)
        _percentile_axis(axes, max(curve.inverse[-1] for curve in curves.values()))
        latency_axis(axes, [value for curve in curves.values() for value in curve.milliseconds])

    return render_plot(name, title, draw)


def latency_over_time(timeline: Sequence[Second], steady_after: float | None = None) -> SvgPlot:
    """Plots p50, p99 and the maximum latency of each second, the warm-up shaded; requires answered calls.

    Args:
        timeline: of the measurement.
        steady_after: where a line marks the beginning of the steady state; None or 0 for no line.
    """

    def draw(axes: "Axes") -> None:
        _shade_warmup(axes, timeline)
        known = [second for second in timeline if second.max is not None]
        for field, line, label in (("max", "worst", "longest"), ("p99", "tail", "p99"), ("p50", "median", "p50")):
            values = [1000 * getattr(second, field) for second in known]
            axes.plot([second.offset + 0.5 for second in known], values, color=colour(line), label=label, marker=".")
        if steady_after:
            axes.axvline(steady_after, color=colour("mark"), linestyle="--", linewidth=1.2, label="steady")
        latency_axis(axes, [1000 * value for second in known for value in (second.p50, second.max) if value])
        _time_axis(axes, timeline)

    return render_plot("latency-over-time", "Latency over time", draw)


def throughput_over_time(timeline: Sequence[Second]) -> SvgPlot:
    """Plots the calls of each second by outcome, stacked, the warm-up shaded; requires a timeline."""

    def draw(axes: "Axes") -> None:
        _shade_warmup(axes, timeline)
        edges = [second.offset for second in timeline] + [timeline[-1].offset + 1]
        baseline = [0] * len(timeline)
        for outcome in _OUTCOMES:
            counts = [getattr(second, outcome) for second in timeline]
            if any(counts) or outcome == "ok":
                top = [low + count for low, count in zip(baseline, counts, strict=True)]
                axes.stairs(top, edges, baseline=baseline, fill=True, color=colour(outcome), label=outcome)
                baseline = top
        axes.stairs([second.sent for second in timeline], edges, color=colour("ink"), label="sent", linewidth=1)
        axes.set_ylabel("calls/s")
        axes.set_ylim(0, None)
        _time_axis(axes, timeline)

    return render_plot("throughput-over-time", "Throughput over time", draw)


def batch_size_plot(batches: Mapping[str, int]) -> SvgPlot:
    """Plots the number of batches of each size that occurred.

    Args:
        batches: by the upper bound of their size class, ascending, as in `ServerView.batch_sizes`.
    """
    return render_plot("batch-sizes", "Batch sizes on the server", partial(draw_batch_sizes, batches))


def draw_batch_sizes(batches: Mapping[str, int], axes: "Axes") -> None:
    """Draws a bar for each size class that has batches; many names of classes are slanted, so that none overlap."""
    classes = zip(size_classes(list(batches)), batches.values(), strict=True)
    names, counts = zip(*((name, count) for name, count in classes if count), strict=True)
    axes.bar(names, counts, color=colour("median"))
    if len(names) > _MAX_LEVEL_NAMES:
        axes.tick_params(axis="x", labelrotation=45)
    axes.grid(visible=False, axis="x")
    axes.set(xlabel="images in the batch", ylabel="batches")


def size_classes(upper_bounds: Sequence[str]) -> list[str]:
    """Returns the names of size classes: bounds 1, 2, 4, +Inf are `1`, `2`, `3–4` and `>4`."""
    names, below = [], 0
    for bound in upper_bounds:
        if bound == "+Inf":
            names.append(f">{below}")
            continue
        upper = int(float(bound))
        names.append(str(upper) if upper - below <= 1 else f"{below + 1}–{upper}")
        below = upper
    return names


def _percentile_axis(axes: "Axes", end: float) -> None:
    from matplotlib.ticker import NullFormatter

    ticks = [tick for tick in _TICKS if tick <= end]
    axes.set_xscale("log")
    axes.set_xlim(2, end)
    axes.set_xticks(ticks, [_TICKS[tick] for tick in ticks])
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("percentile of the answered calls")


def latency_axis(axes: "Axes", milliseconds: Sequence[float]) -> None:
    """Sets up the vertical axis for latencies: from 0, or logarithmic if the values are far apart.

    Args:
        axes: the axes of the plot.
        milliseconds: the values of the plot.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in milliseconds if value > 0]
    if positive and max(positive) / min(positive) > _MIN_LOGARITHMIC_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(positive) / min(positive) < 2000 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, position: f"{value:,.6g}"))
    axes.set_ylabel("latency in ms")


def _time_axis(axes: "Axes", timeline: Sequence[Second]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(timeline[0].offset, timeline[-1].offset + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("seconds since measuring began")


def _shade_warmup(axes: "Axes", timeline: Sequence[Second]) -> None:
    if timeline[0].offset < 0:
        axes.axvspan(timeline[0].offset, 0, color=colour("shade"), alpha=0.5, linewidth=0, label="warm-up", zorder=5)
