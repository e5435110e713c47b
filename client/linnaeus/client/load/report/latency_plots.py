"""The plots of one spell: how latency is distributed, how latency and throughput went over time, and batch sizes.

It must not know of pages or files.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from linnaeus.client.load.report.percentile_curve import Curve, percentile_curve
from linnaeus.client.load.report.svg_plots import Drawing, colour, draw
from linnaeus.client.load.results import Second, Spell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_OUTCOMES = ("ok", "late", "refused", "failed")
_TICKS = {2: "50", 10: "90", 20: "95", 100: "99", 1000: "99.9", 10_000: "99.99", 100_000: "99.999"}
# Beyond this ratio a linear axis shows the highest values and nothing else.
_LOGARITHMIC_FROM_RATIO = 30.0


def latency_distribution(spell: Spell) -> Drawing:
    """Latency by percentile; the spell has answered calls."""
    return distribution("latency-distribution", {"": percentile_curve(spell.latency.histogram)})


def distribution(name: str, curves: Mapping[str, Curve], title: str = "Latency distribution") -> Drawing:
    """Latency by percentile, one line a label; an empty label gets no legend.

    Args:
        name: unique on the page.
        curves: at most two.
        title: stands above the plot.
    """

    def paint(axes: "Axes") -> None:
        for (label, curve), line in zip(curves.items(), ("median", "worst"), strict=False):
            axes.plot(curve.inverse, curve.milliseconds, color=colour(line), label=label or None)
        _percentile_axis(axes, max(curve.inverse[-1] for curve in curves.values()))
        latency_axis(axes, [value for curve in curves.values() for value in curve.milliseconds])

    return draw(name, title, paint)


def latency_over_time(timeline: Sequence[Second]) -> Drawing:
    """p50, p99 and the longest latency of each second, the warm-up shaded; some second has answered calls."""

    def paint(axes: "Axes") -> None:
        _shade_warmup(axes, timeline)
        known = [second for second in timeline if second.max is not None]
        for field, line, label in (("max", "worst", "longest"), ("p99", "tail", "p99"), ("p50", "median", "p50")):
            values = [1000 * getattr(second, field) for second in known]
            axes.plot([second.offset + 0.5 for second in known], values, color=colour(line), label=label, marker=".")
        latency_axis(axes, [1000 * value for second in known for value in (second.p50, second.max) if value])
        _time_axis(axes, timeline)

    return draw("latency-over-time", "Latency over time", paint)


def throughput_over_time(timeline: Sequence[Second]) -> Drawing:
    """What became of the calls of each second, stacked, the warm-up shaded; the timeline is not empty."""

    def paint(axes: "Axes") -> None:
        _shade_warmup(axes, timeline)
        edges = [second.offset for second in timeline] + [timeline[-1].offset + 1]
        floor = [0] * len(timeline)
        for outcome in _OUTCOMES:
            counts = [getattr(second, outcome) for second in timeline]
            if any(counts) or outcome == "ok":
                roof = [low + count for low, count in zip(floor, counts, strict=True)]
                axes.stairs(roof, edges, baseline=floor, fill=True, color=colour(outcome), label=outcome)
                floor = roof
        axes.stairs([second.sent for second in timeline], edges, color=colour("ink"), label="sent", linewidth=1)
        axes.set_ylabel("calls/s")
        axes.set_ylim(0, None)
        _time_axis(axes, timeline)

    return draw("throughput-over-time", "Throughput over time", paint)


def batch_sizes(batches: Mapping[str, int]) -> Drawing:
    """How many batches there were of each size.

    Args:
        batches: by the upper bound of their size class, ascending, as `ServerView.batch_sizes`.
    """

    def paint(axes: "Axes") -> None:
        axes.bar(size_classes(list(batches)), list(batches.values()), color=colour("median"))
        axes.grid(visible=False, axis="x")
        axes.set(xlabel="images in the batch", ylabel="batches")

    return draw("batch-sizes", "Batch sizes on the server", paint)


def size_classes(upper_bounds: Sequence[str]) -> list[str]:
    """Names classes by what they hold: bounds 1, 2, 4, +Inf are `1`, `2`, `3–4` and `>4`."""
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
    """Makes the vertical axis one of latency: from 0, or logarithmic where the values are far apart.

    Args:
        axes: what is drawn on.
        milliseconds: the values that are drawn.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = [value for value in milliseconds if value > 0]
    if positive and max(positive) / min(positive) > _LOGARITHMIC_FROM_RATIO:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if max(positive) / min(positive) < 2000 else (1,)))
        axes.yaxis.set_minor_formatter(NullFormatter())
    else:
        axes.set_ylim(0, 1.08 * max(positive, default=1.0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.6g}"))
    axes.set_ylabel("latency in ms")


def _time_axis(axes: "Axes", timeline: Sequence[Second]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(timeline[0].offset, timeline[-1].offset + 1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("seconds since measuring began")


def _shade_warmup(axes: "Axes", timeline: Sequence[Second]) -> None:
    if timeline[0].offset < 0:
        axes.axvspan(timeline[0].offset, 0, color=colour("shade"), alpha=0.5, linewidth=0, label="warm-up", zorder=5)
