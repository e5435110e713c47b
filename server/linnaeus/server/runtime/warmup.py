"""Runs a model at every batch size class before it serves, and finds the largest batch worth forming.

Pure: the model is a callable and the clock is injected.
"""

from collections.abc import Callable
from dataclasses import dataclass

from linnaeus.server.runtime.out_of_memory import OutOfMemory

# The first calls at a new batch size compile, choose kernels and grow the heap; they are not counted.
_WARMING_RUNS = 3
# Rounds go over all sizes in turn, so that a slow spell of the machine hits all of them alike.
_TIMED_ROUNDS = 4
# Sizes up to this are tried and timed in any case: the first times of a busy machine say little.
_ALWAYS_TRIED = 8
# A long run must be worth the wait that it means for others; less gain than this is noise.
_LONG_RUN_GAIN = 1.05
# A short run hardly makes anybody wait, and a larger batch saves handing over, which pays for about this much. Beyond,
# a larger batch costs memory in every stream.
_SHORT_RUN_SECONDS = 0.01
_SHORT_RUN_LOSS = 1.15


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """How long one batch of `size` images takes, in seconds, at its best."""

    size: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput when such batches follow one another."""
        return self.size / self.seconds


def size_classes(largest: int) -> list[int]:
    """Powers of two below `largest`, and `largest` itself."""
    classes = [1]
    while classes[-1] * 2 < largest:
        classes.append(classes[-1] * 2)
    return classes if largest == 1 else [*classes, largest]


def warm_up(
    run: Callable[[int], None], largest: int, choose: bool, clock: Callable[[], float]
) -> tuple[BatchTiming, ...]:
    """Runs every size class up to `largest` often enough to be warm, and times it.

    Args:
        run: runs a batch of that many images to its end.
        largest: the largest batch to try.
        choose: stop growing where throughput does or memory ends, and end with the batch that `chosen` chooses.
        clock: seconds.

    Returns:
        One timing a size class, growing; the last is the largest batch to form.

    Raises:
        OutOfMemory: not even one image fits, or not the batch that was asked for.
    """
    timings: list[BatchTiming] = []
    for size in size_classes(largest):
        try:
            timings.append(BatchTiming(size, min(_time(run, size, clock) for _ in range(_WARMING_RUNS))))
        except OutOfMemory:
            if not choose or not timings:
                raise
            break
        if choose and size >= _ALWAYS_TRIED and _stopped_growing(timings):
            break
    for _ in range(_TIMED_ROUNDS):
        timings = [BatchTiming(old.size, min(old.seconds, _time(run, old.size, clock))) for old in timings]
    return tuple(timings[: timings.index(chosen(timings)) + 1]) if choose else tuple(timings)


def chosen(timings: list[BatchTiming]) -> BatchTiming:
    """Returns the largest batch worth forming.

    That is the largest whose run is short and nearly as fast as the fastest; where all runs are long, the smallest that
    is as fast as any. One image alone has to be that, too, however short its run: nothing would be batched any more.
    """
    best = max(timing.images_per_second for timing in timings)
    short = [each for each in timings if each.seconds <= _SHORT_RUN_SECONDS and each.size > 1]
    nearly = [each for each in short if each.images_per_second * _SHORT_RUN_LOSS >= best]
    return nearly[-1] if nearly else timings[_worthwhile(timings)]


def _time(run: Callable[[int], None], size: int, clock: Callable[[], float]) -> float:
    started = clock()
    run(size)
    return max(clock() - started, 1e-9)


def _stopped_growing(timings: list[BatchTiming]) -> bool:
    """Two sizes in a row brought nothing; one alone may be noise."""
    return len(timings) - 1 - _worthwhile(timings) >= 2


def _worthwhile(timings: list[BatchTiming]) -> int:
    """The place of the smallest batch whose throughput no larger one beats by a worthwhile gain."""
    best = max(timing.images_per_second for timing in timings)
    return next(place for place, timing in enumerate(timings) if timing.images_per_second * _LONG_RUN_GAIN >= best)
