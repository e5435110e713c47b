"""The plot of the errors in design spaces is legible for any number of spaces."""

import pytest

from linnaeus.models.design_space.evaluation import SampledNetwork
from linnaeus.models.design_space.sampling import Space
from linnaeus.models.inspection.cost import Cost
from linnaeus.models.plots.error_distributions import plot_error_distributions


@pytest.mark.parametrize("spaces", [[Space.REGNET], [Space.A, Space.REGNET], list(Space)], ids=len)
def test_the_legend_names_every_space_and_covers_no_curve(spaces: list[Space]) -> None:
    samples = [SampledNetwork((), Cost(1, 1, 1), error) for error in (0.1, 0.2)]
    figure = plot_error_distributions(dict.fromkeys(spaces, samples), "Small networks")
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(legend.get_texts()) == len(spaces)
    box = legend.get_window_extent()
    assert not box.overlaps(figure.axes[0].get_window_extent())
    assert figure.bbox.containsx(box.x0) and figure.bbox.containsx(box.x1)
