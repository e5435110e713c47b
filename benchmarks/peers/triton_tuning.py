"""Which settings serve tritonserver best: `python -m benchmarks.peers.triton_tuning [MODEL …]`.

What it finds stands in `peers_contests`.
Every choice runs alone, for a few spells with few and with many callers; the machine must be quiet.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks.peers.measurement import Way, measure
from benchmarks.peers.request_bodies import kserve_job
from benchmarks.peers.servers import agreed, tritonserver
from benchmarks.peers.triton_repository import Tuning
from benchmarks.peers.triton_server import Triton
from benchmarks.peers.workloads import CONTESTS, Contest, subject_of

SPELLS = 3
FORMS = ("plain", "frozen", "frozen, channels last", "optimized")


def choices(contest: Contest) -> Iterator[Tuning]:
    """First the ways to share the cores, then the forms of the module, then batch sizes and waiting."""
    best, cores = contest.tuning, len(os.sched_getaffinity(0))
    for instances, spin in product((1, cores), (None, 5000)):
        share = cores // instances
        yield replace(best, instances=instances, threads=share, decoders=share, spin_count=spin)
    yield replace(best, instances=1, threads=1, decoders=1)
    yield from (replace(best, form=form) for form in FORMS)
    yield from (replace(best, max_batch_size=size) for size in (4, 8, 16, 32, 64))
    yield from (replace(best, queue_delay_microseconds=delay) for delay in (200, 1000))


def try_out(triton: Triton, contest: Contest, tuning: Tuning) -> None:
    """Prints what one choice gives."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tritonserver(triton, contest.version, tuning, contest.takes_pixels) as server,
    ):
        subject = subject_of(contest, Path(folder))
        subject = replace(subject, best=agreed(subject, [server]))
        told = []
        for callers in (16, 64):
            way = Way(server, "KServe", kserve_job(subject), callers)
            spells = [measure(way, contest.seconds) for _ in range(1 + SPELLS)][1:]
            told.append(
                f"{callers} callers {median(each.rate for each in spells):.0f}/s, p99 "
                f"{1e3 * median(each.p99 for each in spells):.1f} ms, batch {median(each.batch for each in spells):.1f}"
            )
        print(f"{contest.version.parent.name}: {'; '.join(told)}: {tuning}", flush=True)


def main() -> None:
    """Tries all, or for the models that the command line names."""
    triton = Triton()
    for contest in [each for each in CONTESTS if each.version.parent.name in (sys.argv[1:] or each.version.parts)]:
        for tuning in dict.fromkeys(choices(contest)):
            try_out(triton, contest, tuning)


if __name__ == "__main__":
    main()
