"""Resizes pictures with torch's kernels for bytes: Pillow's pixels within rounding, in a fifth of Pillow's time.

Owns what must be known of torch for that; knows nothing of files, models or cuts. Any thread may call it. These kernels
work in the calling thread alone, so that decoders leave torch's own threads, and how many there may be, as they are.
"""

import numpy
import torch
from numpy.typing import NDArray

# Elsewhere torch resizes bytes with general code, which is not quicker than Pillow and starts threads of its own.
_CAPABILITIES_WITH_KERNELS = frozenset({"AVX2", "AVX512"})

# torch rounds the size down that it computes from a factor: a quotient must not end just below a whole number.
_ROUNDING_MARGIN = 1 + 1e-12


def has_kernels() -> bool:
    """Whether torch has kernels for bytes here; they exist for x86 processors with AVX2."""
    return torch.backends.cpu.get_cpu_capability() in _CAPABILITIES_WITH_KERNELS


def resize(
    pixels: NDArray[numpy.uint8], extent: tuple[float, float], size: tuple[int, int], interpolation: str
) -> NDArray[numpy.uint8]:
    """Returns the picture in another size, antialiased.

    Args:
        pixels: uint8 [H, W, C], C at most 4, C-contiguous and writable (torch would warn otherwise).
        extent: width and height of what the pixels show. Each is that of `pixels`, or, where the picture becomes
            smaller, up to one pixel less, if it ends within the last one.
        size: width and height to come.
        interpolation: `bilinear` or `bicubic`, with the weights that Pillow takes.

    Returns:
        uint8 [height, width, C], C-contiguous.
    """
    width, height = (to / of * _ROUNDING_MARGIN for to, of in zip(size, extent, strict=True))
    # The batch of one comes first: its stride tells torch that channels lie together, and the answer's then do, too.
    channels_first = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        channels_first, scale_factor=(height, width), mode=interpolation, antialias=True
    )
    answer: NDArray[numpy.uint8] = resized[0].permute(1, 2, 0).numpy()
    return answer
