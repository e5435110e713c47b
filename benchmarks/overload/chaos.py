"""A minute of callers who cancel, send corrupt images or give too little time, to three models of which one fails."""

import io
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from PIL import Image

from benchmarks.common.process_footprint import ProcessFootprint
from benchmarks.common.report import Finding, at_most, informational, print_findings
from benchmarks.overload.chaos_callers import ChaosLoad, Outcomes, Reference, Sample, answers_at_rest, run_chaos
from benchmarks.overload.environment import (
    EXTRA_REPOSITORY,
    LARGE_MODEL,
    REPOSITORY,
    SMALL_MODEL,
    Environment,
    process_pool,
    start_server,
)
from linnaeus.server.rpc.child_server import ServerProcess

FAILING_MODEL = "failing"
CALLERS = 32
# The C library returns memory when it sees fit: between equal runs that of a sound server varies by a third. Growth is
# measured from the highest footprint of the preparatory runs, so that only growth beyond that variation counts.
PREPARATORY_RUNS, PREPARATORY_SECONDS = 4, 6.0
SETTLED_SECONDS = 2.0
# Ended threads and connections take a moment to disappear.
REST_SECONDS = 10.0
MOST_MORE = 2
MOST_MEMORY_GROWTH = 0.05
_ROTATIONS = (0, 90, 180, 270)


def chaos(environment: Environment) -> list[Finding]:
    """Runs the load for a while and then in earnest, so that footprints of a server that has worked are compared."""
    with start_server(f"{SMALL_MODEL},{LARGE_MODEL},{FAILING_MODEL}", _repository()) as server, process_pool(1) as pool:
        samples = _samples(environment)
        references = pool.submit(answers_at_rest, server.target, samples).result()
        outcomes, footprints = [], []
        for seed in range(PREPARATORY_RUNS):
            outcomes.append(_run(pool, server, samples, references, PREPARATORY_SECONDS, seed))
            footprints.append(_footprint_at_rest(server))
        before = max(footprints, key=lambda each: each.resident_bytes)
        outcomes.append(_run(pool, server, samples, references, environment.chaos_seconds, seed=PREPARATORY_RUNS))
        after = _footprint_at_rest(server, before)
        raised = sum("failed on a batch of" in str(entry.get("message", "")) for entry in server.logs)
    _print_outcomes(outcomes[-1], raised)
    findings = [informational("the server before", str(before)), informational("the server after", str(after))]
    findings += _outcome_findings(outcomes, raised) + _footprint_findings(before, after)
    print_findings(f"Chaos ({environment.chaos_seconds:g} s, {CALLERS} callers)", findings)
    return findings


def _repository() -> Path:
    """Writes a repository of the two models and of the small one wrapped so that it fails now and then."""
    from benchmarks.overload.faulty_models import export_failing  # imports torch, which callers' processes must not

    repository = EXTRA_REPOSITORY / "chaos"
    for name in (SMALL_MODEL, LARGE_MODEL):
        shutil.copytree(REPOSITORY / name, repository / name)
    export_failing(REPOSITORY / SMALL_MODEL / "1", FAILING_MODEL, repository)
    return repository


def _samples(environment: Environment) -> list[Sample]:
    """Returns each image in four rotations for each model that fits it, so that answers can be told apart."""
    photographs = [rotated for path in environment.photographs for rotated in _rotations(path, "JPEG")]
    digits = [rotated for path in environment.digits for rotated in _rotations(path, "PNG")]
    return [Sample(LARGE_MODEL, each) for each in photographs] + [
        Sample(model, each) for model in (SMALL_MODEL, FAILING_MODEL) for each in digits
    ]


def _rotations(path: Path, file_format: str) -> list[bytes]:
    encoded = []
    with Image.open(path) as image:
        for angle in _ROTATIONS:
            file = io.BytesIO()
            image.rotate(angle, expand=True).save(file, file_format)
            encoded.append(file.getvalue())
    return encoded


def _run(
    pool: ProcessPoolExecutor,
    server: ServerProcess,
    samples: Sequence[Sample],
    references: Sequence[Reference],
    seconds: float,
    seed: int,
) -> Outcomes:
    load = ChaosLoad(
        target=server.target, samples=samples, references=references, callers=CALLERS, seconds=seconds, seed=seed
    )
    return pool.submit(run_chaos, load).result()


def _footprint_at_rest(server: ServerProcess, before: ProcessFootprint | None = None) -> ProcessFootprint:
    """Returns the footprint after a short rest; with `before`, waits longer while it differs from that."""
    end = time.monotonic() + (SETTLED_SECONDS if before is None else REST_SECONDS)
    while time.monotonic() < end:
        time.sleep(1.0)
        now = ProcessFootprint.of(server.child.pid)
        if before is not None and _is_within_bounds(now, before):
            break
    return now


def _is_within_bounds(now: ProcessFootprint, before: ProcessFootprint) -> bool:
    more = max(abs(now.threads - before.threads), abs(now.descriptors - before.descriptors))
    return more <= MOST_MORE and now.memory_growth(before) <= MOST_MEMORY_GROWTH


def _print_outcomes(outcomes: Outcomes, raised: int) -> None:
    counts = ", ".join(f"{kind} {code} {calls}" for (kind, code), calls in sorted(outcomes.codes.items()))
    print(f"\n{outcomes.codes.total()} calls: {counts}; {raised} batches raised")
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


def _footprint_findings(before: ProcessFootprint, after: ProcessFootprint) -> list[Finding]:
    growth = 100 * after.memory_growth(before)
    return [
        at_most("threads, more or fewer", MOST_MORE, abs(after.threads - before.threads), digits=0),
        at_most("descriptors, more or fewer", MOST_MORE, abs(after.descriptors - before.descriptors), digits=0),
        at_most("memory grown by", 100 * MOST_MEMORY_GROWTH, growth, " %", 1),
    ]
