"""Order of the measurements within a round.

Compared measurements take turns, and each round begins with another one, so that a slow phase of the machine or an
effect of one measurement on the next does not always hit the same one.
"""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def rotated(items: Sequence[T], number: int) -> list[T]:
    """Returns the items, beginning with another one for each number."""
    start = number % len(items)
    return [*items[start:], *items[:start]]
