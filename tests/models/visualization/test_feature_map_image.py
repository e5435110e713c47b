"""A stage's image holds its grid, title and scale."""

import math

import numpy
import torch
from PIL import Image

from linnaeus.models.visualization.captions import stage_title
from linnaeus.models.visualization.drawing import text_width
from linnaeus.models.visualization.feature_map_grid import draw_feature_map_grid
from linnaeus.models.visualization.feature_map_image import draw_feature_map
from linnaeus.models.visualization.feature_maps import FeatureMap


def test_a_titled_stage_holds_its_grid_whole() -> None:
    stage = FeatureMap("a." * 200, "Conv2d", torch.rand(40, 9, 9, generator=torch.Generator().manual_seed(0)))
    drawn, grid = draw_feature_map(3, stage), draw_feature_map_grid(stage.values).convert("RGBA")
    cut = drawn.crop((20, 56, 20 + grid.width, 56 + grid.height))
    white = Image.new("RGBA", grid.size, "white")
    assert numpy.array_equal(numpy.asarray(cut), numpy.asarray(Image.alpha_composite(white, grid).convert("RGB")))
    border = numpy.asarray(drawn)
    # the scale's last line
    assert (border[56 + grid.height + 52 :] != 255).any()
    assert (border[:, -10:] == 255).all() and (border[-5:] == 255).all()


def test_a_stages_name_is_told_in_full_where_its_grid_is_narrower() -> None:
    stage = FeatureMap("features.denseblock1.denselayer1.inception.branch4", "Sequential", torch.zeros(8, 56, 56))
    drawn = draw_feature_map(8, stage)
    assert drawn.width > draw_feature_map_grid(stage.values).width + 40
    assert drawn.width == 40 + math.ceil(text_width(stage_title(8, stage), 22))
