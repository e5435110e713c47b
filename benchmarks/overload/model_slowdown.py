"""A model that becomes twice as slow under overload, and fast again: how soon goodput follows."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

from benchmarks.common.load_tester import measure_closed_loop
from benchmarks.common.report import Finding, at_least, print_findings, print_table
from benchmarks.overload.environment import (
    EXTRA_REPOSITORY,
    LARGE_MODEL,
    REPOSITORY,
    START_SECONDS,
    Environment,
    process_pool,
    read_files,
    start_server,
    warm_up,
)
from benchmarks.overload.grpc_callers import OK, CallOutcome, LoadSpec, open_loop
from linnaeus.server.rpc.child_server import ServerProcess

MODEL = "slowing"
CALLERS = 64
CAPACITY_SECONDS = 4.0
DEADLINE_SECONDS = 0.5
OVERLOAD = 2.0
# Fast, slow, fast again.
PHASE_SECONDS = (6.0, 8.0, 8.0)
STATES = ("fast", "twice as slow", "fast again")
SETTLING_SECONDS = 2.0
BIN_SECONDS = 0.5
LEAST_SHARE = 0.90
# Far below the promised share, as a closed loop has no deadlines to keep and no refusals to write.
LEAST_OF_CLOSED_LOOP = 0.50


@dataclass(frozen=True, slots=True)
class Phase:
    """A period of one speed, in seconds after the start of the load.

    Attributes:
        good: planned send times of the calls that were answered in time, ascending; of the whole load.
        start, end: of the phase.
        closed_loop: images a second of a closed loop at this speed.
    """

    good: Sequence[float]
    start: float
    end: float
    closed_loop: float

    @property
    def settled_goodput(self) -> float:
        """Goodput of the second half."""
        return goodput(self.good, (self.start + self.end) / 2, self.end)

    @property
    def ratios(self) -> tuple[float, float]:
        """Goodput from 2 s to the middle by the settled goodput, and that by the closed loop."""
        after = goodput(self.good, self.start + SETTLING_SECONDS, (self.start + self.end) / 2)
        settled = self.settled_goodput
        return after / settled if settled else 0.0, settled / self.closed_loop

    @property
    def bins(self) -> str:
        """The goodput of each half second."""
        starts = [self.start + BIN_SECONDS * place for place in range(round((self.end - self.start) / BIN_SECONDS))]
        return " ".join(f"{goodput(self.good, begin, begin + BIN_SECONDS):.0f}" for begin in starts)


def slowdown(environment: Environment) -> list[Finding]:
    """Sends, in each round, one continuous load of twice the fast capacity over all phases."""
    from benchmarks.overload.faulty_models import export_slowing  # imports torch, which callers' processes must not

    export_slowing(REPOSITORY / LARGE_MODEL / "1", MODEL, EXTRA_REPOSITORY)
    white = with_white_corner(environment.photographs, environment.folder)
    with start_server(MODEL, EXTRA_REPOSITORY) as server, process_pool(1) as pool:
        warm_up(server, MODEL, environment.photographs)
        rounds = [
            _measure_round(server, pool, environment.photographs, white, number) for number in range(environment.rounds)
        ]
    _print_phases(rounds)
    findings = _findings(rounds)
    print_findings(f"When the model's speed changes ({len(rounds)} rounds, medians)", findings)
    return findings


def _measure_round(
    server: ServerProcess,
    pool: ProcessPoolExecutor,
    photographs: tuple[Path, ...],
    white: tuple[Path, ...],
    number: int,
) -> list[Phase]:
    """Measures closed loops at both speeds, then all phases under overload."""
    fast, slow = (
        measure_closed_loop(server, MODEL, images, CALLERS, CAPACITY_SECONDS).goodput for images in (photographs, white)
    )
    load = LoadSpec(
        target=server.target,
        model=MODEL,
        images=read_files(photographs + white + photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=sum(PHASE_SECONDS),
        deadline_seconds=DEADLINE_SECONDS,
        seed=number + 1,
    )
    calls = pool.submit(open_loop, load, OVERLOAD * fast, PHASE_SECONDS[:-1]).result()
    good = _good_times(calls, load.start)
    periods = pairwise(accumulate(PHASE_SECONDS, initial=0.0))
    return [Phase(good, *period, limit) for period, limit in zip(periods, (fast, slow, fast), strict=True)]


def with_white_corner(photographs: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """Writes copies of the images with a white top left third, which slows the model down; returns their paths."""
    written = []
    for path in photographs:
        with Image.open(path) as image:
            corner = (0, 0, image.width // 3, image.height // 3)
            ImageDraw.Draw(image).rectangle(corner, fill="white")
            written.append(folder / f"white-{path.name}")
            image.save(written[-1], "JPEG", quality=90)
    return tuple(written)


def _good_times(calls: Sequence[CallOutcome], start: float) -> list[float]:
    """Returns the planned send times, in seconds after the start, of the calls that were answered in time."""
    good = (each for each in calls if each.code == OK and each.ended - each.intended <= DEADLINE_SECONDS)
    return sorted(each.intended - start for each in good)


def _print_phases(rounds: Sequence[Sequence[Phase]]) -> None:
    rows = [
        (state, phase.bins, f"{phase.settled_goodput:.1f}", f"{phase.closed_loop:.1f}")
        for phases in rounds
        for state, phase in zip(STATES, phases, strict=True)
    ]
    head = ("goodput each 0.5 s", "", "second half", "closed loop")
    print_table(f"{OVERLOAD:g} times the fast capacity, images/s in time by phase", head, rows)


def _findings(rounds: Sequence[Sequence[Phase]]) -> list[Finding]:
    changed = list(zip(STATES, zip(*rounds, strict=True), strict=True))[1:]
    return [finding for state, phases in changed for finding in _phase_findings(state, phases)]


def _phase_findings(state: str, phases: Sequence[Phase]) -> list[Finding]:
    """Compares with the closed loop as well: a server that has collapsed settles soon, at next to nothing."""
    soon, not_collapsed = (sorted(ratios) for ratios in zip(*(phase.ratios for phase in phases), strict=True))
    span = f"({soon[0]:.2f} to {soon[-1]:.2f})"
    return [
        at_least(f"{state}: goodput from 2 s on : what it can give {span}", LEAST_SHARE, median(soon)),
        at_least(f"{state}: what it can give : closed loop (no collapse)", LEAST_OF_CLOSED_LOOP, median(not_collapsed)),
    ]


def goodput(good: Sequence[float], start: float, end: float) -> float:
    """Returns good calls a second of those that were planned for a period."""
    return sum(start <= moment < end for moment in good) / (end - start)
