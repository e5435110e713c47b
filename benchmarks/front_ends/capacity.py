"""What a server of several processes can serve, computed from what its processes spend on an image. Pure arithmetic.

Three things bound the images a second, and the lowest one holds: the engine's event loop, a thread of one interpreter,
which never uses more than one core; the event loops of the front ends, one core each; and all cores together, among
which the kernel deals out the work of all threads.
"""

import math
from dataclasses import dataclass

ENGINE_LOOP, FRONT_END_LOOPS, CORES = "the engine's event loop", "the front ends' event loops", "the cores"
# Three front ends that fall short by rounding alone are three, not four.
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class ImageCost:
    """Processor seconds of one image.

    Attributes:
        engine: of all threads of the engine.
        engine_loop: of the engine's event loop, a part of `engine`.
        front_end: of all threads of a front end, with decoding.
        front_end_loop: of a front end's event loop, a part of `front_end`.
        caller: of the load generator, where it shares the cores.
    """

    engine: float
    engine_loop: float
    front_end: float
    front_end_loop: float
    caller: float = 0.0

    @property
    def total(self) -> float:
        """Of everything that shares the cores."""
        return self.engine + self.front_end + self.caller


@dataclass(frozen=True, slots=True)
class Capacity:
    """Images a second of so many front ends, and what bounds them."""

    front_ends: int
    images_per_second: float
    bound: str


def capacity(cost: ImageCost, cores: int, front_ends: int) -> Capacity:
    """Returns what a machine serves with a number of front ends and one engine."""
    bounds = {
        CORES: cores / cost.total,
        ENGINE_LOOP: 1 / cost.engine_loop,
        FRONT_END_LOOPS: front_ends / cost.front_end_loop,
    }
    bound = min(bounds, key=bounds.__getitem__)
    return Capacity(front_ends, bounds[bound], bound)


def best_split(cost: ImageCost, cores: int) -> Capacity:
    """Returns the smallest number of front ends that serves as much as any number does, and what that is."""
    most = min(cores / cost.total, 1 / cost.engine_loop)
    return capacity(cost, cores, max(math.ceil(most * cost.front_end_loop - _ROUNDING), 1))
