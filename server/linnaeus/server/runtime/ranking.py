"""The best classes of one image. Imports neither torch nor a runtime: whoever only passes answers on reads it, too."""

import math
from typing import NamedTuple


class Ranking(NamedTuple):
    """The best classes of one image, best first; equal probabilities by lower index.

    If `is_finite` is False, the model returned NaN or infinity and the ranking is meaningless. `features` are packed
    float32, little-endian; empty if they were not asked for.
    """

    indices: list[int]
    probabilities: list[float]
    features: bytes = b""

    @property
    def is_finite(self) -> bool:
        """Whether every probability is finite."""
        return all(map(math.isfinite, self.probabilities))
