"""Looking: the picture as it is prepared, and what is drawn of numbers and names."""

import math
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from linnaeus.models.looking.grid import draw_grid, value_range
from linnaeus.models.looking.picture import load_picture, to_pixels
from linnaeus.models.looking.sheet import describe, draw_stage, percent
from linnaeus.models.looking.stages import FeatureMap
from linnaeus.models.looking.text import length, wrap_path
from linnaeus.models.manifest import InputSpec
from linnaeus.models.registry import find
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage


def test_the_picture_is_what_the_server_would_make_of_it(pictures: Path) -> None:
    for name, file in (("efficientnet_lite0", "coffee.jpg"), ("efficientnet_lite0", "chelsea.jpg"), ("lenet", "4.png")):
        path = pictures / "digits" / file if file.endswith("png") else pictures / file
        spec = find(name).input
        ours = numpy.asarray(load_picture(path, spec)).reshape(spec.height, spec.width, -1).astype(int)
        theirs = decode(EncodedImage(path.read_bytes()), spec, 10**8).astype(int)
        assert ours.shape == theirs.shape
        assert numpy.abs(ours - theirs).mean() < 0.5


def test_a_picture_is_turned_upright_and_laid_over_white(tmp_path: Path) -> None:
    spec = InputSpec(channels=3, height=2, width=2, resize=2, interpolation="bilinear")
    stored = Image.new("RGBA", (2, 2), (255, 0, 0, 255))
    stored.putpixel((0, 0), (0, 0, 0, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying on its left side: the first pixel belongs in the right upper corner
    stored.save(tmp_path / "turned.png", exif=exif)
    seen = load_picture(tmp_path / "turned.png", spec)
    assert [seen.getpixel(place) for place in ((1, 0), (0, 0), (0, 1), (1, 1))] == [(255,) * 3] + [(255, 0, 0)] * 3
    assert to_pixels(seen)[0, :, 0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("channels", "size"), [(1, 1), (7, 3), (64, 112), (50, 8), (1920, 7)])
def test_every_channel_is_drawn_whole(channels: int, size: int) -> None:
    # every channel has a value of its own; the middle 98 % of them have colours of their own, up to the palette's 255
    values = torch.arange(float(channels)).view(-1, 1, 1).expand(channels, size, size)
    grid = draw_grid(values)
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


def test_a_titled_stage_holds_its_grid_whole() -> None:
    stage = FeatureMap("a." * 200, "Conv2d", torch.rand(40, 9, 9, generator=torch.Generator().manual_seed(0)))
    drawn, grid = draw_stage(3, stage), draw_grid(stage.values).convert("RGBA")
    cut = drawn.crop((20, 56, 20 + grid.width, 56 + grid.height))
    white = Image.new("RGBA", grid.size, "white")
    assert numpy.array_equal(numpy.asarray(cut), numpy.asarray(Image.alpha_composite(white, grid).convert("RGB")))
    border = numpy.asarray(drawn)
    # the scale's last line
    assert (border[56 + grid.height + 52 :] != 255).any()
    assert (border[:, -10:] == 255).all() and (border[-5:] == 255).all()


def test_a_small_probability_is_not_said_to_be_nothing() -> None:
    assert [percent(value) for value in (0.9401, 0.0006, 0.0004, 1.0)] == ["94.0%", "0.1%", "<0.1%", "100.0%"]


def test_a_stages_name_is_told_in_full_where_its_grid_is_narrower() -> None:
    stage = FeatureMap("features.denseblock1.denselayer1.inception.branch4", "Sequential", torch.zeros(8, 56, 56))
    drawn = draw_stage(8, stage)
    assert drawn.width > draw_grid(stage.values).width + 40
    assert drawn.width == 40 + math.ceil(length(describe(8, stage), 22))


def test_a_long_path_takes_two_lines_which_divide_at_a_dot_and_begin_with_its_number() -> None:
    assert wrap_path(3, "features.4", 12, 112) == ("3 features.4",)
    assert wrap_path(11, "features.denseblock4", 12, 112) == ("11 features", "denseblock4")
    block, branch = wrap_path(6, "stage1.inception3a.branch1", 12, 112)
    assert block.startswith("6 …") and block.endswith(".inception3a") and branch == "branch1"
    first, second = wrap_path(42, "features.denseblock1.denselayer12.inception.branch3", 12, 112)
    assert first.startswith("42 …") and first.endswith(".denselayer12") and second == "inception.branch3"
    (only,) = wrap_path(1, "a" * 50, 12, 112)
    assert only.startswith("1 …a") and length(only, 12) <= 112
