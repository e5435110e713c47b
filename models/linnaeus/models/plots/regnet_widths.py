"""Pictures of RegNets and of design spaces, as matplotlib figures; what is drawn is made elsewhere.

Figures are made without pyplot, so that no backend is chosen and nothing global is left behind.
"""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from linnaeus.models.architectures.anynet import Cost
from linnaeus.models.architectures.regnet import RegNetParameters
from linnaeus.models.design_space.sampling import SampledNetwork, Space, error_distribution

_DOTS_PER_INCH = 120
_STAGE_COLORS = ("#f2f2f2", "#e2e2e2")
# Okabe and Ito's colours, which line_color-blind people can tell apart as well.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#000000")


def plot_widths(parameters: RegNetParameters, cost: Cost, title: str) -> Figure:
    """Draws each block's width beside the quantised and the straight line; stages are shaded and named."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    axes = figure.add_subplot()
    stages = parameters.stages()
    blocks = range(parameters.depth)
    widths = [stage.width for stage in stages for _ in range(stage.depth)]
    _shade_stages(axes, [stage.depth for stage in stages], [stage.width for stage in stages])
    axes.plot(blocks, parameters.linear_widths(), "--", color=_COLORS[5], label="straight line w0 + wa · j")
    axes.step(blocks, parameters.quantized_widths(), where="mid", color=_COLORS[0], linewidth=2, label="quantised line")
    axes.plot(blocks, widths, "o", color=_COLORS[1], markersize=6, label="the network's blocks")
    axes.set_xlim(-0.5, parameters.depth - 0.5)
    # room for the stages' names above the highest block
    axes.set_ylim(0, 1.25 * max(*widths, *parameters.quantized_widths(), *parameters.linear_widths()))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="block j", ylabel="width (channels)")
    figure.legend(loc="outside lower center", ncols=3)
    axes.set_title(f"{title}\n{cost}", fontsize=12)
    return figure


def plot_error_distributions(spaces: dict[Space, list[SampledNetwork]], title: str) -> Figure:
    """Draws the share of networks whose error is at most so much, a stepped curve for each space."""
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for line_color, (space, samples) in zip(_COLORS, spaces.items(), strict=False):
        errors, shares = zip(*error_distribution(samples), strict=True)
        percent = [100 * error for error in errors]
        mean = sum(percent) / len(percent)
        label = f"{_space_name(space)}: n = {len(percent)}, best {percent[0]:.1f} %, mean {mean:.1f} %"
        axes.step([percent[0], *percent], [0, *shares], where="post", color=line_color, linewidth=2, label=label)
        axes.plot(percent, shares, "o", color=line_color, markersize=4)
    axes.set(xlabel="test error (%)", ylabel="share of networks with at most this error", ylim=(0, 1.03))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", framealpha=1)
    axes.set_title(title, fontsize=12)
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes the picture, making its folder; the name's ending says the format.

    Raises:
        ValueError: the ending names no format of a picture.
        OSError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DOTS_PER_INCH)


def _space_name(space: Space) -> str:
    return "RegNet" if space is Space.REGNET else f"AnyNet {space.value}"


def _shade_stages(axes: Axes, depths: list[int], widths: list[int]) -> None:
    start = -0.5
    for number, (depth, width) in enumerate(zip(depths, widths, strict=True), 1):
        axes.axvspan(start, start + depth, color=_STAGE_COLORS[number % 2], zorder=0)
        label = f"stage {number}\n{depth} × {width}"
        # Stages of one block are narrower than their names: every other name stands a row lower.
        height = 0.985 if number % 2 else 0.9
        axes.text(
            start + depth / 2, height, label, fontsize=8, transform=axes.get_xaxis_transform(), ha="center", va="top"
        )
        start += depth
