"""The key of a loaded model version in the scheduler."""

from typing import NamedTuple


class LaneKey(NamedTuple):
    """A version's key in the batch queue. Loading a version anew makes another generation of it beside the old one."""

    model: str
    version: int
    generation: int
