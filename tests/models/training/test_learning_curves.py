"""The plot of a training is legible, however many epochs it had."""

import pytest
from matplotlib.figure import Figure

from linnaeus.models.training import Epoch
from linnaeus.models.training.learning_curves import draw_learning_curves


def drawn(epochs: int) -> Figure:
    history = [Epoch(number, 0.5 / number, 0.9, 1 - 0.1 / number, 1.0) for number in range(1, epochs + 1)]
    figure = draw_learning_curves(history, "lenet")
    figure.draw_without_rendering()
    return figure


@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_the_ticks_are_epochs_and_never_fractions_of_one(epochs: int) -> None:
    for axes in drawn(epochs).axes:
        low, high = axes.get_xlim()
        ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
        assert ticks and all(tick == round(tick) for tick in ticks) and low < 1 and high > epochs


def test_the_legend_covers_no_curve() -> None:
    figure = drawn(1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["training", "test"]
    box = legend.get_window_extent()
    assert not any(box.overlaps(axes.get_window_extent()) for axes in figure.axes)
