"""The images on which a user's network is tried."""

from dataclasses import replace

import torch
from torch import Tensor

from linnaeus.models.manifest import InputSpec, check_pixels

_SEEDS = ("linnaeus check 1", "linnaeus trial 2", "linnaeus trial 3")


def trial_images(spec: InputSpec) -> Tensor:
    """Returns six different images, uint8 [6, C, H, W]: three boards, one black, one white, one of noise.

    They differ as much as images can, so that logits are not taken for scores because all of them are small.
    """
    boards = [_board(spec, seed) for seed in _SEEDS]
    black = torch.zeros_like(boards[0])
    noise = torch.randint(0, 256, black.shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return torch.cat([*boards, black, 255 - black, noise])


def other_channels(spec: InputSpec) -> InputSpec:
    """Returns the same input in color instead of gray, or in gray instead of color."""
    return replace(spec, channels=4 - spec.channels)


def _board(spec: InputSpec, seed: str) -> Tensor:
    pixels = torch.frombuffer(bytearray(check_pixels(spec, seed)), dtype=torch.uint8)
    return pixels.view(1, spec.height, spec.width, spec.channels).permute(0, 3, 1, 2)
