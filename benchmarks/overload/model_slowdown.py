"""A model that becomes twice as slow half-way under overload, and fast again: how soon goodput follows."""

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from statistics import median

from PIL import Image, ImageDraw

from benchmarks.common.load_tester import under_load
from benchmarks.common.report import Finding, at_least, print_table, tell
from benchmarks.overload.environment import (
    EXTRA_REPOSITORY,
    HEAVY,
    REPOSITORY,
    START_SECONDS,
    Ground,
    contents,
    processes,
    server_of,
    warm,
)
from benchmarks.overload.grpc_callers import OK, Call, Crowd, open_loop
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
# Far from what is promised, but a closed loop has no deadlines to keep and no refusals to write.
LEAST_OF_CLOSED = 0.50


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of one speed: the moments of the good calls, its start and end, and what a closed loop gave."""

    moments: Sequence[float]
    start: float
    end: float
    closed: float

    @property
    def can(self) -> float:
        """What the model gives once all has settled: goodput of the second half."""
        return goodput(self.moments, (self.start + self.end) / 2, self.end)

    @property
    def ratios(self) -> tuple[float, float]:
        """Goodput from 2 s on by what it can give, and that by what the closed loop gave."""
        after = goodput(self.moments, self.start + SETTLING_SECONDS, (self.start + self.end) / 2)
        return after / self.can if self.can else 0.0, self.can / self.closed

    @property
    def bins(self) -> str:
        """The goodput of each half second."""
        starts = [self.start + BIN_SECONDS * place for place in range(round((self.end - self.start) / BIN_SECONDS))]
        return " ".join(f"{goodput(self.moments, begin, begin + BIN_SECONDS):.0f}" for begin in starts)


def slowdown(ground: Ground) -> list[Finding]:
    """In each round one continuous load of twice the fast capacity over all phases."""
    from benchmarks.overload.faulty_models import (
        export_slowing,  # imports torch, which the processes that send can do without
    )

    export_slowing(REPOSITORY / HEAVY / "1", MODEL, EXTRA_REPOSITORY)
    white = whitened(ground.photographs, ground.folder)
    with server_of(MODEL, EXTRA_REPOSITORY) as server, processes(1) as pool:
        warm(server, MODEL, ground.photographs)
        turns = [_turn(server, pool, ground.photographs, white, number) for number in range(ground.rounds)]
    return _told(turns)


def _turn(
    server: ServerProcess,
    pool: ProcessPoolExecutor,
    photographs: tuple[Path, ...],
    white: tuple[Path, ...],
    number: int,
) -> list[Phase]:
    """Measures what the model can give, then slows it down and lets it be fast again under load."""
    fast, slow = (
        under_load(server, MODEL, pictures, CALLERS, CAPACITY_SECONDS).goodput for pictures in (photographs, white)
    )
    crowd = Crowd(
        target=server.target,
        model=MODEL,
        pictures=contents(photographs + white + photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=sum(PHASE_SECONDS),
        deadline_seconds=DEADLINE_SECONDS,
        seed=number + 1,
    )
    calls = pool.submit(open_loop, crowd, OVERLOAD * fast, PHASE_SECONDS[:-1]).result()
    moments = _good_moments(calls, crowd.start)
    stretches = pairwise(accumulate(PHASE_SECONDS, initial=0.0))
    return [Phase(moments, *stretch, limit) for stretch, limit in zip(stretches, (fast, slow, fast), strict=True)]


def whitened(photographs: Sequence[Path], folder: Path) -> tuple[Path, ...]:
    """The same pictures with a white top left third, which is what slows the model down."""
    made = []
    for path in photographs:
        with Image.open(path) as image:
            corner = (0, 0, image.width // 3, image.height // 3)
            ImageDraw.Draw(image).rectangle(corner, fill="white")
            made.append(folder / f"white-{path.name}")
            image.save(made[-1], "JPEG", quality=90)
    return tuple(made)


def _good_moments(calls: Sequence[Call], start: float) -> list[float]:
    """Seconds after the start at which those calls were meant to be sent that were answered in time."""
    good = (each for each in calls if each.code == OK and each.ended - each.intended <= DEADLINE_SECONDS)
    return sorted(each.intended - start for each in good)


def _told(turns: Sequence[Sequence[Phase]]) -> list[Finding]:
    rows = [
        (state, phase.bins, f"{phase.can:.1f}", f"{phase.closed:.1f}")
        for phases in turns
        for state, phase in zip(STATES, phases, strict=True)
    ]
    head = ("goodput each 0.5 s", "", "second half", "closed loop")
    print_table(f"{OVERLOAD:g} times the fast capacity, images/s in time by phase", head, rows)
    changed = list(zip(STATES, zip(*turns, strict=True), strict=True))[1:]
    findings = [finding for state, phases in changed for finding in _findings(state, phases)]
    tell(f"When the model's speed changes ({len(turns)} rounds, medians)", findings)
    return findings


def _findings(state: str, phases: Sequence[Phase]) -> list[Finding]:
    """A server that has collapsed can give next to nothing, and gives it soon: that must not pass."""
    soon, not_collapsed = (sorted(ratios) for ratios in zip(*(phase.ratios for phase in phases), strict=True))
    span = f"({soon[0]:.2f} to {soon[-1]:.2f})"
    return [
        at_least(f"{state}: goodput from 2 s on : what it can give {span}", LEAST_SHARE, median(soon)),
        at_least(f"{state}: what it can give : closed loop (no collapse)", LEAST_OF_CLOSED, median(not_collapsed)),
    ]


def goodput(moments: Sequence[float], start: float, end: float) -> float:
    """Good calls a second that were meant to be sent in that stretch."""
    return sum(start <= moment < end for moment in moments) / (end - start)
