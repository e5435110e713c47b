"""A model that becomes twice as slow half-way under overload, and fast again: how soon goodput follows."""

import time
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

from overload_callers import OK, Call, Crowd, open_loop
from overload_ground import (
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
from overload_told import Finding, at_least, only_told, print_table, tell
from PIL import Image, ImageDraw
from served import under_load

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


def slowdown(ground: Ground) -> list[Finding]:
    """One continuous load of twice the fast capacity over all phases."""
    from overload_models import export_slowing  # imports torch, which the processes that send can do without

    export_slowing(REPOSITORY / HEAVY / "1", MODEL, EXTRA_REPOSITORY)
    white = whitened(ground.photographs, ground.folder)
    with server_of(MODEL, EXTRA_REPOSITORY) as server, processes(1) as pool:
        warm(server, MODEL, ground.photographs)
        fast, slow = (
            under_load(server, MODEL, pictures, CALLERS, CAPACITY_SECONDS).goodput
            for pictures in (ground.photographs, white)
        )
        crowd = Crowd(
            target=server.target,
            model=MODEL,
            pictures=contents(ground.photographs + white + ground.photographs),
            start=time.monotonic() + START_SECONDS,
            seconds=sum(PHASE_SECONDS),
            deadline_seconds=DEADLINE_SECONDS,
        )
        calls = pool.submit(open_loop, crowd, OVERLOAD * fast, PHASE_SECONDS[:-1]).result()
    return _told(_good_moments(calls, crowd.start), (fast, slow, fast))


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


def _told(moments: Sequence[float], closed: Sequence[float]) -> list[Finding]:
    phases = list(pairwise(accumulate(PHASE_SECONDS, initial=0.0)))
    rows = []
    findings = [only_told(f"closed loop, {CALLERS} callers", f"fast {closed[0]:.1f}, slow {closed[1]:.1f} images/s")]
    for (start, end), state, limit in zip(phases, STATES, closed, strict=True):
        can = goodput(moments, (start + end) / 2, end)
        rows.append((state, _bins(moments, start, end), f"{can:.1f}", f"{limit:.1f}"))
        if start > 0:
            after = goodput(moments, start + SETTLING_SECONDS, (start + end) / 2)
            findings += _findings(state, after, can, limit)
    head = ("goodput each 0.5 s", "", "second half", "closed loop")
    print_table(f"{OVERLOAD:g} times the fast capacity, images/s in time by phase", head, rows)
    tell("When the model's speed changes", findings)
    return findings


def _findings(state: str, after: float, can: float, limit: float) -> list[Finding]:
    """A server that has collapsed can give next to nothing, and gives it soon: that must not pass."""
    return [
        at_least(f"{state}: goodput from 2 s on : what it can give", LEAST_SHARE, after / can if can else 0.0),
        at_least(f"{state}: what it can give : closed loop (no collapse)", LEAST_OF_CLOSED, can / limit),
    ]


def goodput(moments: Sequence[float], start: float, end: float) -> float:
    """Good calls a second that were meant to be sent in that stretch."""
    return sum(start <= moment < end for moment in moments) / (end - start)


def _bins(moments: Sequence[float], start: float, end: float) -> str:
    starts = [start + BIN_SECONDS * place for place in range(round((end - start) / BIN_SECONDS))]
    return " ".join(f"{goodput(moments, begin, begin + BIN_SECONDS):.0f}" for begin in starts)
