"""Plots goodput and the 99th percentile of fleets of several sizes against the load."""

from collections.abc import Callable, Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.simulation.experiments import ALL_WELL, Point
from benchmarks.simulation.measurement import Measured
from linnaeus.models.plots.figure_file import COLORS

_Series = tuple[str, int, list[tuple[Point, Measured]]]
_Value = Callable[[Point, Measured], float]


def plot_sizes(points: Sequence[Point], results: Sequence[Measured], capacity: float, title: str) -> Figure:
    """Returns the figure: a color for each number of replicas, dashed where some are slow."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    goodput, latency = figure.subplots(1, 2)
    for name, replicas, series in _series(points, results):
        _plot(goodput, name, replicas, series, lambda point, found: found.goodput / (point.plan.replicas * capacity))
        _plot(latency, name, replicas, series, lambda point, found: 1e3 * (found.p99 or 0.0))
    goodput.set(xlabel="offered, in capacities C", ylabel="answered in time, in C", ylim=(0, 1.1))
    latency.set(xlabel="offered, in capacities C", ylabel="99th percentile of the answers, ms", ylim=(0, None))
    figure.suptitle(title, fontsize=12)
    handles, labels = goodput.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _plot(axes: Axes, name: str, replicas: int, series: list[tuple[Point, Measured]], value: _Value) -> None:
    sizes = (1, 10, 100, 1000)
    color = COLORS[sizes.index(replicas) if replicas in sizes else len(sizes)]
    style = "-" if name == ALL_WELL else "--"
    axes.plot(
        [point.load for point, _ in series],
        [value(point, found) for point, found in series],
        style,
        marker="o" if style == "-" else "x",
        markersize=4,
        color=color,
        label=f"{replicas:,}, {name}",
    )
    axes.grid(alpha=0.3)


def _series(points: Sequence[Point], results: Sequence[Measured]) -> Iterator[_Series]:
    """Yields the points of one line, by name and number of replicas."""
    groups: dict[tuple[str, int], list[tuple[Point, Measured]]] = {}
    for point, found in zip(points, results, strict=True):
        groups.setdefault((point.name, point.plan.replicas), []).append((point, found))
    for (name, replicas), series in groups.items():
        yield name, replicas, series
