"""Plots the learning curves of a training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

_SIZE_INCHES = (10, 4.2)
_DOTS_PER_INCH = 120
# Space between the panels, in panel widths: without it, the right y label seems to belong to the left panel.
_GAP = 0.1


class EpochMetrics(Protocol):
    """The metrics of one epoch; accuracies are between 0 and 1."""

    @property
    def number(self) -> int:
        """Number of the epoch, from 1."""

    @property
    def training_loss(self) -> float:
        """Mean loss of the training images."""

    @property
    def training_accuracy(self) -> float:
        """Accuracy on the training images."""

    @property
    def test_accuracy(self) -> float:
        """Accuracy on the test images."""


def plot_learning_curves(history: Sequence[EpochMetrics], title: str, target: Path) -> None:
    """Writes a PNG: the loss per epoch on the left, both accuracies in percent on the right.

    Raises:
        OSError: if the file cannot be written.
    """
    # imported here, because the commands import this module without plotting
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
