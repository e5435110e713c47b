"""Generates images with structure, to initialize untrained networks and to test any network.

Noise alone is not enough: a deep network gives nearly the same output for all noise.
"""

import torch
from torch import Generator, Tensor
from torch.nn import functional

from linnaeus.models.manifest import InputSpec

_RECTANGLES = 6
# Standard deviation of the noise, for pixels between 0 and 1.
_MAX_NOISE = 0.3


def synthetic_images(spec: InputSpec, count: int, seed: int) -> Tensor:
    """Returns random uint8 [count, C, H, W] of smooth colors, a grating, rectangles and noise."""
    generator = torch.Generator().manual_seed(seed)
    # evenly spaced strengths of noise: by chance, several images with little noise would mislead the initialization
    images = [_image(spec, index / count, generator) for index in range(count)]
    return torch.stack(images).mul(255).round().to(torch.uint8)


def _image(spec: InputSpec, noise_strength: float, generator: Generator) -> Tensor:
    """Returns float32 [C, H, W] between 0 and 1; `noise_strength` is a share of the strongest noise."""
    image = 0.6 * _smooth_colors(spec, generator) + 0.4 * _grating(spec, generator)
    for _ in range(_RECTANGLES):
        rows, columns = (_random_span(length, generator) for length in (spec.height, spec.width))
        image[:, rows, columns] = torch.rand((spec.channels, 1, 1), generator=generator)
    noise = torch.randn((spec.channels, spec.height, spec.width), generator=generator)
    # random filters respond most to fine texture, which photographs have everywhere
    return (image + noise_strength * _MAX_NOISE * noise).clamp(0, 1)


def _smooth_colors(spec: InputSpec, generator: Generator) -> Tensor:
    coarse = torch.rand((1, spec.channels, 4, 4), generator=generator)
    return functional.interpolate(coarse, (spec.height, spec.width), mode="bilinear")[0]


def _grating(spec: InputSpec, generator: Generator) -> Tensor:
    """Returns a sine grating of random direction, wavelength and color."""
    across, down = torch.rand(2, generator=generator).mul(60).sub(30).tolist()
    rows = torch.linspace(0, 1, spec.height).view(1, -1, 1)
    columns = torch.linspace(0, 1, spec.width).view(1, 1, -1)
    colour = torch.rand((spec.channels, 1, 1), generator=generator)
    return colour * (0.5 + 0.5 * torch.sin(across * columns + down * rows))


def _random_span(length: int, generator: Generator) -> slice:
    """Returns a random interval of a side: at least one pixel, a quarter of the side on average."""
    start, extent = torch.rand(2, generator=generator).tolist()
    first = int(start * length)
    return slice(first, first + max(1, int(extent * length / 2)))
