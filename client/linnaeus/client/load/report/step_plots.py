"""The plots over the steps of a ramp or a search: what was served and how fast, against the rate that was offered.

It must not know of pages or files.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from linnaeus.client.load.report.latency_plots import latency_axis
from linnaeus.client.load.report.metrics import answered, chosen_rate, name_of_choice, shortened
from linnaeus.client.load.report.svg_plots import Drawing, colour, draw
from linnaeus.client.load.results import Run, Spell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = ("median", "worst")


def throughput_by_rate(runs: Mapping[str, Run]) -> Drawing:
    """Goodput against the offered rate, with the diagonal on which all is served, and each run's mark.

    Args:
        runs: one or two, by label; each with at least one step that has a rate.
    """

    def paint(axes: "Axes") -> None:
        highest = max(rate(spell) for run in runs.values() for spell in run.spells)
        axes.plot([0, highest], [0, highest], color=colour("ink"), linewidth=1, linestyle=":", label="all served")
        for (label, run), line in zip(runs.items(), _LINES, strict=False):
            steps = by_rate(run)
            goodput = [spell.goodput for spell in steps]
            axes.plot([rate(each) for each in steps], goodput, color=colour(line), label=label, marker="o")
            _mark(axes, run, line if len(runs) > 1 else "mark", label if len(runs) > 1 else "")
        axes.set(ylabel="calls/s that were ok", xlim=(0, None), ylim=(0, None))
        axes.set_xlabel("calls/s offered")

    return draw("throughput-by-rate", "Throughput against offered rate", paint)


def tail_by_rate(runs: Mapping[str, Run]) -> Drawing:
    """p99 against the offered rate, and each run's mark.

    Args:
        runs: as `throughput_by_rate`.
    """

    def paint(axes: "Axes") -> None:
        drawn: list[float] = []
        for (label, run), line in zip(runs.items(), _LINES, strict=False):
            steps = [spell for spell in by_rate(run) if answered(spell)]
            tails = [1000 * spell.latency.p99 for spell in steps]
            name = label if len(runs) > 1 else "p99"
            axes.plot([rate(each) for each in steps], tails, color=colour(line), label=name, marker="o")
            _mark(axes, run, line if len(runs) > 1 else "mark", label if len(runs) > 1 else "")
            drawn += tails
        axes.set_xlim(0, None)
        latency_axis(axes, drawn)
        axes.set(xlabel="calls/s offered", ylabel="p99 latency in ms")

    return draw("tail-by-rate", "p99 against offered rate", paint)


def rate(spell: Spell) -> float:
    """Calls a second that were offered."""
    return spell.offered if spell.rate is None else spell.rate


def by_rate(run: Run) -> Sequence[Spell]:
    """The steps, lowest rate first; a search tries them in another order."""
    return sorted(run.spells, key=rate)


def _mark(axes: "Axes", run: Run, line: str, label: str) -> None:
    found = chosen_rate(run)
    if found is not None:
        name = " ".join(filter(None, (name_of_choice(run), label, f"{shortened(found)}/s")))
        axes.axvline(found, color=colour(line), linestyle="--", linewidth=1.2, label=name)
