"""Digits that are easy to learn, and digits that cannot be learned."""

import torch

from linnaeus.models.training import Digits


def bright_or_dark(images: int) -> Digits:
    """Two classes that a network can tell apart after a few steps."""
    classes = torch.arange(images) % 2
    return Digits((classes * 255).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 28, 28), classes)


def noise(images: int) -> Digits:
    """What no network can be right about but by luck."""
    pixels = torch.randint(0, 256, (images, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Digits(pixels, torch.arange(images) % 10)
