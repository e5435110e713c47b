"""Plots the learning curves of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from linnaeus.models.training.loop import Epoch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SIZE_INCHES = (10, 4.6)
_DOTS_PER_INCH = 120
# Space between the panels, in panel widths: without it, the right y label seems to belong to the left panel.
_GAP = 0.1
# Space beside the first and the last epoch, in epochs. It also gives a training of one epoch an axis around that epoch,
# which otherwise would be 0.1 epochs long and have fractions as ticks.
_MARGIN = 0.5


def plot_learning_curves(history: Sequence[Epoch], title: str, target: Path) -> None:
    """Writes `draw_learning_curves` to a PNG.

    Raises:
        OSError: if the file cannot be written.
    """
    draw_learning_curves(history, title).savefig(target, dpi=_DOTS_PER_INCH, format="png")


def draw_learning_curves(history: Sequence[Epoch], title: str) -> "Figure":
    """Plots the loss per epoch on the left, and both accuracies in percent on the right."""
    # imported here, because matplotlib takes longer to import than most commands take to run
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    epochs = [epoch.number for epoch in history]
    figure = Figure(figsize=_SIZE_INCHES)
    figure.set_layout_engine("constrained", wspace=_GAP)
    figure.suptitle(f"{title}: test accuracy {history[-1].test_accuracy:.2%} after epoch {epochs[-1]}")
    left, right = figure.subplots(1, 2)
    left.plot(epochs, [epoch.training_loss for epoch in history], "o-", color="#0072b2", label="training")
    left.set(title="Loss", ylabel="mean cross-entropy", ylim=(0, None))
    right.plot(epochs, [100 * epoch.training_accuracy for epoch in history], "o-", color="#0072b2", label="training")
    right.plot(epochs, [100 * epoch.test_accuracy for epoch in history], "s-", color="#d55e00", label="test")
    right.set(title="Accuracy", ylabel="right answers in %")
    for axes in (left, right):
        axes.set(xlabel="epoch", xlim=(epochs[0] - _MARGIN, epochs[-1] + _MARGIN))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    # below the panels, where it covers no curve
    figure.legend(*right.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
