"""A minute of callers that cancel, send rubbish and hurry, over three models of which one raises now and then."""

import io
import os
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from benchmarks.common.report import Finding, at_most, only_told, tell
from benchmarks.overload.chaos_callers import Chaos, Known, Outcomes, Sample, answers_at_rest, run_chaos
from benchmarks.overload.environment import EXTRA_REPOSITORY, HEAVY, LIGHT, REPOSITORY, Ground, processes, server_of
from linnaeus.server.rpc.child_server import ServerProcess

FRAGILE = "fragile"
CALLERS = 32
# The C library gives memory back when it sees fit: between equal turns a sound server's swings by a third. The most
# that it held after a turn is what it is compared to, so that only growth beyond its own swing counts.
SETTLING_TURNS, SETTLING_SECONDS = 4, 6.0
SETTLED_SECONDS = 2.0
# Threads and connections of what has ended take a moment to go.
REST_SECONDS = 10.0
MOST_MORE = 2
MOST_MEMORY_GROWTH = 0.05
_TURNS = (0, 90, 180, 270)


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a process holds: threads, open descriptors, and bytes of resident memory."""

    threads: int
    descriptors: int
    resident_bytes: int

    @classmethod
    def of(cls, pid: int) -> "Footprint":
        """Reads it from /proc."""
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        status = dict(line.split(":", 1) for line in lines)
        resident = 1024 * int(status["VmRSS"].split()[0])
        return cls(int(status["Threads"]), len(os.listdir(f"/proc/{pid}/fd")), resident)

    def __str__(self) -> str:
        return f"{self.threads} threads, {self.descriptors} descriptors, {self.resident_bytes / 1e6:.0f} MB"

    def is_near(self, other: "Footprint") -> bool:
        """Whether this is within the bounds of that."""
        near = abs(self.threads - other.threads) <= MOST_MORE and abs(self.descriptors - other.descriptors) <= MOST_MORE
        return near and self.memory_growth(other) <= MOST_MEMORY_GROWTH

    def memory_growth(self, before: "Footprint") -> float:
        """How much more memory this is, as a share."""
        return self.resident_bytes / before.resident_bytes - 1.0


def chaos(ground: Ground) -> list[Finding]:
    """First a while of the same, so that the footprint is compared to that of a server that has worked."""
    with server_of(f"{LIGHT},{HEAVY},{FRAGILE}", _repository()) as server, processes(1) as pool:
        samples = _samples(ground)
        known = pool.submit(answers_at_rest, server.target, samples).result()
        settling, footprints = [], []
        for seed in range(SETTLING_TURNS):
            settling.append(_run(pool, server, samples, known, SETTLING_SECONDS, seed))
            footprints.append(_at_rest(server))
        before = max(footprints, key=lambda each: each.resident_bytes)
        outcomes = _run(pool, server, samples, known, ground.chaos_seconds, seed=SETTLING_TURNS)
        after = _at_rest(server, before)
        raised = sum("failed on a batch of" in str(entry.get("message", "")) for entry in server.logs)
    _tell_outcomes(outcomes, raised)
    findings = [only_told("the server before", str(before)), only_told("the server after", str(after))]
    findings += _outcome_findings([*settling, outcomes], raised) + _footprint_findings(before, after)
    tell(f"Chaos ({ground.chaos_seconds:g} s, {CALLERS} callers)", findings)
    return findings


def _repository() -> Path:
    """The two models as they are, and the small one wrapped so that it raises."""
    from benchmarks.overload.faulty_models import (
        export_fragile,  # imports torch, which the processes that send can do without
    )

    repository = EXTRA_REPOSITORY / "chaos"
    for name in (LIGHT, HEAVY):
        shutil.copytree(REPOSITORY / name, repository / name)
    export_fragile(REPOSITORY / LIGHT / "1", FRAGILE, repository)
    return repository


def _samples(ground: Ground) -> list[Sample]:
    """Every picture turned four ways, for each of the models it is made for, so that answers can be told apart."""
    photographs = [turned for path in ground.photographs for turned in _turned(path, "JPEG")]
    digits = [turned for path in ground.digits for turned in _turned(path, "PNG")]
    return [Sample(HEAVY, each) for each in photographs] + [
        Sample(model, each) for model in (LIGHT, FRAGILE) for each in digits
    ]


def _turned(path: Path, file_format: str) -> list[bytes]:
    made = []
    with Image.open(path) as image:
        for angle in _TURNS:
            file = io.BytesIO()
            image.rotate(angle, expand=True).save(file, file_format)
            made.append(file.getvalue())
    return made


def _run(
    pool: ProcessPoolExecutor,
    server: ServerProcess,
    samples: Sequence[Sample],
    known: Sequence[Known],
    seconds: float,
    seed: int,
) -> Outcomes:
    order = Chaos(target=server.target, samples=samples, known=known, callers=CALLERS, seconds=seconds, seed=seed)
    return pool.submit(run_chaos, order).result()


def _at_rest(server: ServerProcess, before: Footprint | None = None) -> Footprint:
    """The footprint after a short rest; with `before`, once it is near that, or else has had time to become so."""
    end = time.monotonic() + (SETTLED_SECONDS if before is None else REST_SECONDS)
    while time.monotonic() < end:
        time.sleep(1.0)
        now = Footprint.of(server.child.pid)
        if before is not None and now.is_near(before):
            break
    return now


def _tell_outcomes(outcomes: Outcomes, raised: int) -> None:
    told = ", ".join(f"{kind} {code} {calls}" for (kind, code), calls in sorted(outcomes.codes.items()))
    print(f"\n{outcomes.codes.total()} calls: {told}; {raised} batches raised")
    for sentence in outcomes.examples:
        print(f"  {sentence}")


def _outcome_findings(all_outcomes: Sequence[Outcomes], raised: int) -> list[Finding]:
    return [
        Finding(
            "batches that raised, so that the other promises mean something", "at least 1", f"{raised}", raised > 0
        ),
        at_most("calls that ended as they should not", 0, sum(each.unexpected for each in all_outcomes), digits=0),
        at_most("calls without an outcome", 0, sum(each.hung for each in all_outcomes), digits=0),
        at_most("answers that were another picture's", 0, sum(each.wrong for each in all_outcomes), digits=0),
    ]


def _footprint_findings(before: Footprint, after: Footprint) -> list[Finding]:
    growth = 100 * after.memory_growth(before)
    return [
        at_most("threads, more or fewer", MOST_MORE, abs(after.threads - before.threads), digits=0),
        at_most("descriptors, more or fewer", MOST_MORE, abs(after.descriptors - before.descriptors), digits=0),
        at_most("memory grown by", 100 * MOST_MEMORY_GROWTH, growth, " %", 1),
    ]
