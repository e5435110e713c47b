"""Runs a model at every batch size class before it serves, and finds the largest batch worth forming.

Pure: the model is a callable and the clock is injected.
"""

from collections.abc import Callable
from dataclasses import dataclass

from linnaeus.server.runtime.out_of_memory import OutOfMemory

# The first calls at a new batch size compile, choose kernels and grow the heap; the fastest of these runs counts.
_WARMING_RUNS = 3
# Each round runs all sizes in turn, so that a slow phase of the machine affects all of them alike.
_TIMED_ROUNDS = 4
# Sizes up to this are always tried and timed: the first times on a busy machine are unreliable.
_ALWAYS_TRIED = 8
# A long run must be worth the wait that it causes for others, and the memory of its activations, which each worker
# holds; a smaller gain is often noise.
_LONG_RUN_GAIN = 1.1
# A short run hardly delays others, and a larger batch saves overhead per batch, which makes up for about this much
# throughput. Beyond, a larger batch costs memory in every worker.
_SHORT_RUN_SECONDS = 0.01
_SHORT_RUN_LOSS = 1.15


@dataclass(frozen=True, slots=True)
class BatchTiming:
    """The shortest measured duration of a batch of `size` images, in seconds."""

    size: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of such batches run one after another."""
        return self.size / self.seconds


def size_classes(largest: int) -> list[int]:
    """Returns the powers of two below `largest`, and `largest` itself."""
    classes = [1]
    while classes[-1] * 2 < largest:
        classes.append(classes[-1] * 2)
    return classes if largest == 1 else [*classes, largest]


def warm_up(
    run: Callable[[int], None], largest: int, choose: bool, clock: Callable[[], float]
) -> tuple[BatchTiming, ...]:
    """Runs every size class up to `largest` until it is warm, and times it.

    Args:
        run: runs a batch of this many images to its end.
        largest: the largest batch size to try.
        choose: whether to stop where throughput stops growing or memory ends, and to end with the result of
            `choose_batch`.
        clock: time in seconds.

    Returns:
        One timing per size class, ascending; the last is the largest batch to form.

    Raises:
        OutOfMemory: if not even one image fits, or with `choose` False, if a size does not fit.
    """
    timings: list[BatchTiming] = []
    for size in size_classes(largest):
        try:
            timings.append(BatchTiming(size, min(_time(run, size, clock) for _ in range(_WARMING_RUNS))))
        except OutOfMemory:
            if not choose or not timings:
                raise
            break
        if choose and size >= _ALWAYS_TRIED and _throughput_stopped_growing(timings):
            break
    for _ in range(_TIMED_ROUNDS):
        timings = [BatchTiming(old.size, min(old.seconds, _time(run, old.size, clock))) for old in timings]
    return tuple(timings[: timings.index(choose_batch(timings)) + 1]) if choose else tuple(timings)


def choose_batch(timings: list[BatchTiming]) -> BatchTiming:
    """Returns the largest batch worth forming.

    That is the largest batch with a short run and nearly the best throughput; if all runs are long, the smallest with
    the best throughput. A batch of one image must have the best throughput even if its run is short; otherwise nothing
    would be batched.
    """
    best = max(timing.images_per_second for timing in timings)
    short = [each for each in timings if each.seconds <= _SHORT_RUN_SECONDS and each.size > 1]
    fast_enough = [each for each in short if each.images_per_second * _SHORT_RUN_LOSS >= best]
    return fast_enough[-1] if fast_enough else timings[_smallest_worthwhile(timings)]


def _time(run: Callable[[int], None], size: int, clock: Callable[[], float]) -> float:
    started = clock()
    run(size)
    return max(clock() - started, 1e-9)


def _throughput_stopped_growing(timings: list[BatchTiming]) -> bool:
    """Whether the last two sizes gained nothing; a single one may be noise."""
    return len(timings) - 1 - _smallest_worthwhile(timings) >= 2


def _smallest_worthwhile(timings: list[BatchTiming]) -> int:
    """Returns the index of the smallest batch that no larger one beats by a worthwhile gain."""
    best = max(timing.images_per_second for timing in timings)
    return next(place for place, timing in enumerate(timings) if timing.images_per_second * _LONG_RUN_GAIN >= best)
