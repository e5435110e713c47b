"""Synthetic images repeat by their seed and have structure."""

import torch
from tests.models.weights.small_networks import SMALL

from linnaeus.models.weights.synthetic_images import synthetic_images


def test_generated_pictures_are_the_same_for_the_same_seed_and_full_of_structure() -> None:
    one = synthetic_images(SMALL, 3, 1)
    assert one.dtype == torch.uint8 and one.shape == (3, 3, 64, 64)
    assert torch.equal(one, synthetic_images(SMALL, 3, 1)) and not torch.equal(one, synthetic_images(SMALL, 3, 2))
    assert one.float().std((2, 3)).min() > 5
