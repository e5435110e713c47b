"""Plots the distribution of the errors in design spaces."""

from matplotlib.figure import Figure

from linnaeus.models.design_space.evaluation import SampledNetwork, error_distribution
from linnaeus.models.design_space.spaces import Space
from linnaeus.models.plots.figure_file import COLORS


def plot_error_distributions(spaces: dict[Space, list[SampledNetwork]], title: str) -> Figure:
    """Plots the empirical distribution function of the errors, one step curve per space."""
    figure = Figure(figsize=(8, 6), layout="constrained")
    axes = figure.add_subplot()
    for line_color, (space, samples) in zip(COLORS, spaces.items(), strict=False):
        errors, shares = zip(*error_distribution(samples), strict=True)
        percent = [100 * error for error in errors]
        mean = sum(percent) / len(percent)
        label = f"{_space_name(space)}: n = {len(percent)}, best {percent[0]:.1f} %, mean {mean:.1f} %"
        axes.step([percent[0], *percent], [0, *shares], where="post", color=line_color, linewidth=2, label=label)
        axes.plot(percent, shares, "o", color=line_color, markersize=4)
    axes.set(xlabel="test error (%)", ylabel="share of networks with at most this error", ylim=(0, 1.03))
    axes.grid(alpha=0.3)
    # below the plot: within it, the legend of six spaces covers the curves of the worst ones
    figure.legend(loc="outside lower center", ncols=2, fontsize=9)
    axes.set_title(title, fontsize=12)
    return figure


def _space_name(space: Space) -> str:
    return "RegNet" if space is Space.REGNET else f"AnyNet {space.value}"
