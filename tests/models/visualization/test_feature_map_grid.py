"""Every channel of a feature map is drawn."""

import numpy
import pytest
import torch

from linnaeus.models.visualization.colormap import value_range
from linnaeus.models.visualization.feature_map_grid import draw_feature_map_grid


@pytest.mark.parametrize(("channels", "size"), [(1, 1), (7, 3), (64, 112), (50, 8), (1920, 7)])
def test_every_channel_is_drawn_whole(channels: int, size: int) -> None:
    # every channel has a value of its own; the middle 98 % of them have colours of their own, up to the palette's 255
    values = torch.arange(float(channels)).view(-1, 1, 1).expand(channels, size, size)
    grid = draw_feature_map_grid(values)
    places = numpy.asarray(grid)
    assert grid.width <= 1200
    opaque = places != 255
    per_tile = opaque.sum() / channels
    assert per_tile == int(per_tile) and round(per_tile**0.5) ** 2 == per_tile
    assert len(numpy.unique(places[opaque])) >= min(channels * 0.97, 255)


def test_the_scale_runs_over_what_most_values_are() -> None:
    values = torch.cat([torch.linspace(0, 1, 999), torch.tensor([1e6])]).view(1, 10, 100)
    low, high = value_range(values)
    assert 0 <= low < 0.02 and 0.98 < high <= 1
