"""Plots the widths of a RegNet's blocks."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.inspection.cost import Cost
from linnaeus.models.plots.figure_file import COLORS

_STAGE_COLORS = ("#f2f2f2", "#e2e2e2")


def plot_widths(parameters: RegNetParameters, cost: Cost, title: str) -> Figure:
    """Plots the width of each block with the linear and the quantized widths; shades and labels the stages."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    stages = parameters.stages()
    blocks = range(parameters.depth)
    widths = [stage.width for stage in stages for _ in range(stage.depth)]
    _shade_stages(axes, [stage.depth for stage in stages], [stage.width for stage in stages])
    axes.plot(blocks, parameters.linear_widths(), "--", color=COLORS[5], label="straight line w0 + wa · j")
    axes.step(blocks, parameters.quantized_widths(), where="mid", color=COLORS[0], linewidth=2, label="quantised line")
    axes.plot(blocks, widths, "o", color=COLORS[1], markersize=6, label="the network's blocks")
    axes.set_xlim(-0.5, parameters.depth - 0.5)
    # the labels of the stages need space above the highest block
    axes.set_ylim(0, 1.25 * max(*widths, *parameters.quantized_widths(), *parameters.linear_widths()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="block j", ylabel="width (channels)")
    figure.legend(loc="outside lower center", ncols=3)
    axes.set_title(f"{title}\n{cost}", fontsize=12)
    return figure


def _shade_stages(axes: Axes, depths: list[int], widths: list[int]) -> None:
    start = -0.5
    for number, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        axes.axvspan(start, start + depth, color=_STAGE_COLORS[number % 2], zorder=0)
        label = f"stage {number}\n{depth} × {width}"
        # Stages of one block are narrower than their labels: every other label is one row lower.
        height = 0.985 if number % 2 else 0.9
        axes.text(
            start + depth / 2, height, label, fontsize=8, transform=axes.get_xaxis_transform(), ha="center", va="top"
        )
        start += depth
