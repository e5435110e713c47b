"""`decode()` against plain Pillow, and how decoders are timed in turns."""

import statistics
import threading
import time
from collections.abc import Callable

import numpy

from benchmarks.common.rounds import rotated
from benchmarks.decoding.candidates import SIDE, Decoder, jpeg, our_decode, plain_pillow

SIZES = ((500, 375), (1280, 960), (4000, 3000))
MILLISECONDS = 1000
PAIRS = 9
# How often the photographs are decoded in one turn: 20 ms at least.
REPEATS = {500: 10, 1280: 3, 4000: 1}


def seconds(work: Callable[[], object], clock: Callable[[], float]) -> float:
    """Returns the time of one call on a clock."""
    start = clock()
    work()
    return clock() - start


def take_turns(
    works: list[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[list[float]]:
    """Times each work once a round, in an order that rotates, and returns the seconds of each."""
    times: list[list[float]] = [[] for _ in works]
    for number in range(rounds):
        for place in rotated(range(len(works)), number):
            times[place].append(seconds(works[place], clock))
    return times


def all_of(run: Decoder, files: list[bytes]) -> Callable[[], object]:
    """Returns the work of decoding each file once."""
    return lambda: [run(data) for data in files]


def on_threads(work: Callable[[], object], count: int) -> Callable[[], None]:
    """Returns the work of doing `work` on `count` threads at the same time."""

    def together() -> None:
        threads = [threading.Thread(target=work) for _ in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return together


def mean_difference(run: Decoder, files: list[bytes]) -> float:
    """Returns the mean absolute difference from plain Pillow's pixels, in levels of 0 to 255."""
    return statistics.fmean(
        float(numpy.abs(run(data).astype(numpy.int16) - plain_pillow(data)).mean()) for data in files
    )


def bench_decode() -> None:
    """Prints the time of `decode()` as a share of plain Pillow's; a part of `make bench`."""
    print(f"\ndecode, resize and crop of a JPEG to {SIDE}x{SIDE}, one thread, {PAIRS} pairs in turns:")
    for size, most in zip(SIZES, (0.6, 0.35, 0.15), strict=True):
        files = [jpeg(picture, size) for picture in ("coffee", "chelsea")] * REPEATS[size[0]]
        works = [all_of(plain_pillow, files), all_of(our_decode, files)]
        take_turns(works, 1)
        plain, ours = take_turns(works, PAIRS)
        ratios = [one / other for one, other in zip(ours, plain, strict=True)]
        each = [MILLISECONDS * statistics.median(times) / len(files) for times in (ours, plain)]
        print(
            f"  {size[0]}x{size[1]}: decode() {each[0]:.2f} ms : plain Pillow {each[1]:.2f} ms"
            f" = {statistics.median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f} (at most {most})"
        )
