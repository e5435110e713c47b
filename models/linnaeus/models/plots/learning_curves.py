"""Draws how a training went; it knows nothing of networks or data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_SIZE_INCHES = (10, 4.2)
_DOTS_PER_INCH = 120
# Between the panels, in panel widths: without it the right one's y label reads as the left one's.
_GAP = 0.1


class EpochMetrics(Protocol):
    """The figures of one epoch that are drawn; accuracies are between 0 and 1."""

    @property
    def number(self) -> int:
        """The epoch, from 1."""

    @property
    def training_loss(self) -> float:
        """Mean loss."""

    @property
    def training_accuracy(self) -> float:
        """Of the training images."""

    @property
    def test_accuracy(self) -> float:
        """Of the test images."""


def plot_learning_curves(history: Sequence[EpochMetrics], title: str, target: Path) -> None:
    """Writes a PNG: the loss by epoch on the left, both accuracies in per cent on the right.

    Raises:
        OSError: it cannot be written.
    """
    # It takes longer to import than most commands take to run. Without pyplot, nothing global is left behind.
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
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(target, dpi=_DOTS_PER_INCH, format="png")
