"""Compares JPEG decoders: time, processor time, difference from plain Pillow's pixels, and gain of a second thread.

    python -m benchmarks.decoding [--rounds 15]

The candidates take turns within a round, so that a slow phase of the machine affects all of them; printed figures are
medians over the rounds. A library that is not installed is skipped with a line. Needs Pillow and numpy; to compare
others, install torchvision, simplejpeg, PyTurboJPEG (and libturbojpeg), opencv-python-headless, imagecodecs,
kornia-rs, or pyvips with pyvips-binary.
"""

import argparse
import statistics
import time

from benchmarks.decoding.candidates import Candidate, candidates, jpeg
from benchmarks.decoding.comparison import MILLISECONDS, SIZES, all_of, mean_difference, on_threads, take_turns


def measure(size: tuple[int, int], compared: list[Candidate], rounds: int) -> None:
    """Prints the table for one image size."""
    files = [jpeg(picture, size) for picture in ("coffee", "chelsea")]
    works = [all_of(one.run, files) for one in compared]
    alone = [statistics.median(times) for times in take_turns(works, rounds)]
    processor = [statistics.median(times) for times in take_turns(works, rounds, time.process_time)]
    # The best, not the median: other work on the second core would look like a held GIL.
    pairs = [min(times) for times in take_turns([on_threads(work, n) for work in works for n in (1, 2)], rounds)]
    print(f"\n{size[0]} x {size[1]}, {sum(map(len, files)) // len(files) // 1024} KiB a file, {rounds} rounds")
    print(f"{'decoder':<26}{'ms':>9}{'of plain':>10}{'cpu ms':>9}{'off by':>9}{'2 threads':>11}")
    for place, one in enumerate(compared):
        wall, cpu = (MILLISECONDS * times[place] / len(files) for times in (alone, processor))
        speedup = 2 * pairs[2 * place] / pairs[2 * place + 1]
        print(
            f"{one.name:<26}{wall:>9.2f}{alone[place] / alone[0]:>10.2f}{cpu:>9.2f}"
            f"{mean_difference(one.run, files):>9.2f}{speedup:>10.2f}x"
        )


def main() -> None:
    """Measures everything and prints it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15, help="how often each candidate takes its turn")
    rounds = parser.parse_args().rounds
    compared = list(candidates())
    for size in SIZES:
        measure(size, compared, rounds)
    print("\nof plain: time over plain Pillow's. cpu: processor time of all threads.")
    print("off by: mean absolute difference to plain Pillow's pixels, in levels of 0 to 255.")
    print("2 threads: images a second on two threads over one; 2 where two cores are free and the GIL is released.")


if __name__ == "__main__":
    main()
