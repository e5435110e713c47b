"""The key of a loaded model version in the scheduler."""

from typing import NamedTuple


class LaneKey(NamedTuple):
    """The key of a model version's lane. Every load of a version gets a new generation."""

    model: str
    version: int
    generation: int
