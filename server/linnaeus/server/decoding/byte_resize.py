"""Resizes images with torch's uint8 kernels: Pillow's pixels within rounding, in a fifth of Pillow's time.

Owns the use of torch in this folder; must not know files, models or crops. Any thread may call it. These kernels run on
the calling thread alone, so decoders neither start torch threads nor change how many torch uses.
"""

import numpy
import torch
from numpy.typing import NDArray

# On other processors torch resizes uint8 with general code, which is no faster than Pillow and starts threads.
_CAPABILITIES_WITH_KERNELS = frozenset({"AVX2", "AVX512"})

# torch computes the size from the scale factor and rounds down; the margin keeps a quotient from ending just below the
# wanted integer.
_ROUNDING_MARGIN = 1 + 1e-12


def has_kernels() -> bool:
    """Returns whether torch has uint8 resize kernels for this processor; they exist for x86 with AVX2."""
    return torch.backends.cpu.get_cpu_capability() in _CAPABILITIES_WITH_KERNELS


def resize(
    pixels: NDArray[numpy.uint8], extent: tuple[float, float], size: tuple[int, int], interpolation: str
) -> NDArray[numpy.uint8]:
    """Resizes an image with antialiasing.

    Args:
        pixels: uint8 [H, W, C], C at most 4, C-contiguous and writable (torch would warn otherwise).
        extent: width and height of the image in pixels. Each equals that of `pixels`; on an axis that is reduced it may
            be up to one pixel less, if the image ends within the last pixel.
        size: width and height of the result.
        interpolation: `bilinear` or `bicubic`, with Pillow's weights.

    Returns:
        uint8 [height, width, C], C-contiguous.
    """
    x_scale, y_scale = (target / source * _ROUNDING_MARGIN for target, source in zip(size, extent, strict=True))
    # The batch dimension is added before the permutation: its stride makes torch recognise the channels-last format and
    # return the result in the same format.
    channels_first = torch.from_numpy(pixels)[None].permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(
        channels_first, scale_factor=(y_scale, x_scale), mode=interpolation, antialias=True
    )
    result: NDArray[numpy.uint8] = resized[0].permute(1, 2, 0).numpy()
    return result
