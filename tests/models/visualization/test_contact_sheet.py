"""The contact sheet and the heat map are drawn in full."""

import numpy

from linnaeus.models.visualization.contact_sheet import draw_contact_sheet
from linnaeus.models.visualization.heat_map import draw_heat_map
from linnaeus.models.visualization.image_analysis import ImageAnalysis


def test_heat_and_sheet_are_drawn_in_full(coffee: ImageAnalysis, seven: ImageAnalysis) -> None:
    assert draw_heat_map(coffee).size == draw_heat_map(seven).size == (336, 336)
    for analysis in (coffee, seven):
        sheet = numpy.asarray(draw_contact_sheet(analysis))
        # nothing touches the border, so nothing is cut off
        for border in (sheet[:8], sheet[-8:], sheet[:, :8], sheet[:, -8:]):
            assert (border == 255).all()
