"""The plots of a ramp or a search: throughput and p99 latency against the offered rate."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from linnaeus.client.load.report.latency_plots import latency_axis
from linnaeus.client.load.report.metrics import format_number, has_latency, result_name, result_rate
from linnaeus.client.load.report.svg_plots import SvgPlot, colour, render_plot
from linnaeus.client.load.results import Measurement, Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("median", "worst")


def throughput_by_rate(runs: Mapping[str, Run]) -> SvgPlot:
    """Plots goodput against the offered rate, with the diagonal of full service and each run's result.

    Args:
        runs: one or two, by label; each has at least one step with a rate.
    """

    def draw(axes: "Axes") -> None:
        highest = max(rate(each) for run in runs.values() for each in run.measurements)
        axes.plot([0, highest], [0, highest], color=colour("ink"), linewidth=1, linestyle=":", label="all served")
        for (label, run), line in zip(runs.items(), _LINES, strict=False):
            steps = by_rate(run)
            goodput = [each.goodput for each in steps]
            axes.plot([rate(each) for each in steps], goodput, color=colour(line), label=label, marker="o")
            _mark_result(axes, run, line if len(runs) > 1 else "mark", label if len(runs) > 1 else "")
        axes.set(ylabel="calls/s that were ok", xlim=(0, None), ylim=(0, None))
        axes.set_xlabel("calls/s offered")

    return render_plot("throughput-by-rate", "Throughput against offered rate", draw)


def p99_by_rate(runs: Mapping[str, Run]) -> SvgPlot:
    """Plots the p99 latency against the offered rate, with each run's result.

    Args:
        runs: as for `throughput_by_rate`.
    """

    def draw(axes: "Axes") -> None:
        plotted: list[float] = []
        for (label, run), line in zip(runs.items(), _LINES, strict=False):
            steps = [each for each in by_rate(run) if has_latency(each)]
            p99 = [1000 * each.latency.p99 for each in steps]
            name = label if len(runs) > 1 else "p99"
            axes.plot([rate(each) for each in steps], p99, color=colour(line), label=name, marker="o")
            _mark_result(axes, run, line if len(runs) > 1 else "mark", label if len(runs) > 1 else "")
            plotted += p99
        axes.set_xlim(0, None)
        latency_axis(axes, plotted)
        axes.set(xlabel="calls/s offered", ylabel="p99 latency in ms")

    return render_plot("tail-by-rate", "p99 against offered rate", draw)


def rate(measurement: Measurement) -> float:
    """Returns the offered rate in calls a second."""
    return measurement.offered if measurement.rate is None else measurement.rate


def by_rate(run: Run) -> Sequence[Measurement]:
    """Returns the steps by ascending rate; a search tries them in another order."""
    return sorted(run.measurements, key=rate)


def _mark_result(axes: "Axes", run: Run, line: str, label: str) -> None:
    found = result_rate(run)
    if found is not None:
        if run.knee_below is not None and run.kind == "ramp":
            axes.axvspan(found, run.knee_below, color=colour(line), alpha=0.12, linewidth=0)
        name = " ".join(filter(None, (result_name(run), label, f"{format_number(found)}/s")))
        axes.axvline(found, color=colour(line), linestyle="--", linewidth=1.2, label=name)
