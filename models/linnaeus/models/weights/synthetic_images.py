"""Generated pictures with structure: for calibrating untrained networks and for testing any of them.

Noise alone would not do: to a deep network all noise looks alike.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from linnaeus.models.manifest import InputSpec

_RECTANGLES = 6
# Standard deviation, of pixels between 0 and 1.
_MAX_NOISE = 0.3


def synthetic_images(spec: InputSpec, count: int, seed: int) -> Tensor:
    """Draws uint8 [count, C, H, W]: smooth colours, a grating, sharp rectangles and grain, each seed its own."""
    generator = torch.Generator().manual_seed(seed)
    # every strength of grain occurs: with random ones, four calm pictures in a row would mislead a calibration
    drawn = [_image(spec, place / count, generator) for place in range(count)]
    return torch.stack(drawn).mul(255).round().to(torch.uint8)


def _image(spec: InputSpec, grain: float, generator: Generator) -> Tensor:
    """One picture as float32 [C, H, W] between 0 and 1; `grain` is a share of the strongest."""
    image = 0.6 * _smooth_colors(spec, generator) + 0.4 * _grating(spec, generator)
    for _ in range(_RECTANGLES):
        rows, columns = (_random_span(length, generator) for length in (spec.height, spec.width))
        image[:, rows, columns] = torch.rand((spec.channels, 1, 1), generator=generator)
    noise = torch.randn((spec.channels, spec.height, spec.width), generator=generator)
    # random filters answer to fine texture most, and photographs are full of it
    return (image + grain * _MAX_NOISE * noise).clamp(0, 1)


def _smooth_colors(spec: InputSpec, generator: Generator) -> Tensor:
    coarse = torch.rand((1, spec.channels, 4, 4), generator=generator)
    return functional.interpolate(coarse, (spec.height, spec.width), mode="bilinear")[0]


def _grating(spec: InputSpec, generator: Generator) -> Tensor:
    """Waves of a random direction and length, in the colour that `_smooth_colors` has no say in."""
    across, down = torch.rand(2, generator=generator).mul(60).sub(30).tolist()
    rows = torch.linspace(0, 1, spec.height).view(1, -1, 1)
    columns = torch.linspace(0, 1, spec.width).view(1, 1, -1)
    colour = torch.rand((spec.channels, 1, 1), generator=generator)
    return colour * (0.5 + 0.5 * torch.sin(across * columns + down * rows))


def _random_span(length: int, generator: Generator) -> slice:
    """Some stretch of a side, a quarter of it long on average and at least a pixel."""
    start, extent = torch.rand(2, generator=generator).tolist()
    first = int(start * length)
    return slice(first, first + max(1, int(extent * length / 2)))
