"""`make bench-peers`: the same pictures and the same model through Linnaeus and through NVIDIA's tritonserver.

Both run on this machine at the same time, and one of them works while the other idles; all ways to call them are
measured in turns and told as the median of all rounds. Both get the same bytes of KServe v2 from the same caller, one
process with one connection, which shares the cores with them; Linnaeus is called in its own API besides. Every answer
is compared with what both said beforehand. docs/decisions/0017-peers.md tells what makes the comparison fair.
"""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.common.process_usage import memory_bytes
from benchmarks.peers.measurement import Spell, Way, measure
from benchmarks.peers.report import tell_ways
from benchmarks.peers.request_bodies import Subject, batch_job, classify_job, kserve_job, stream_job
from benchmarks.peers.servers import Contender, agreed, linnaeus, tritonserver
from benchmarks.peers.triton_server import ENVIRONMENT, Triton, Unavailable
from benchmarks.peers.workloads import CONTESTS, Contest, subject_of

ROUNDS = 9
BATCH = 32


def groups(contest: Contest, subject: Subject, ours: Contender, theirs: Contender) -> Iterator[tuple[str, list[Way]]]:
    """What is compared with one another; the first way of a group is the one that others are held against."""
    for callers in contest.callers:
        single = kserve_job(subject)
        yield (
            f"{callers} caller{'s' * (callers > 1)}",
            [
                Way(theirs, "KServe", single, callers),
                Way(ours, "KServe", single, callers),
                Way(ours, "Classify", classify_job(subject), callers),
            ],
        )
    if contest.many:
        callers = contest.callers[-1]
        pairs, stream = kserve_job(subject, BATCH), kserve_job(subject, streaming=True)
        yield (
            f"many images by one caller: {callers} under way, or two messages of {BATCH}",
            [
                Way(theirs, "KServe", kserve_job(subject), callers),
                Way(theirs, f"KServe, [{BATCH}]", pairs, 2),
                Way(theirs, "KServe, streamed", stream, callers),
                Way(ours, f"KServe, [{BATCH}]", pairs, 2),
                Way(ours, "KServe, streamed", stream, callers),
                Way(ours, f"ClassifyBatch of {BATCH}", batch_job(subject, BATCH), 2),
                Way(ours, "StreamClassify", stream_job(subject), callers),
            ],
        )


def compare(triton: Triton, contest: Contest) -> None:
    """Runs a contest and prints it."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        theirs = opened.enter_context(tritonserver(triton, contest.version, contest.tuning, contest.takes_pixels))
        ours = opened.enter_context(linnaeus(contest.version))
        subject = subject_of(contest, folder)
        subject = replace(subject, best=agreed(subject, [ours, theirs]))
        named = dict(groups(contest, subject, ours, theirs))
        spells = take_turns([way for ways in named.values() for way in ways], contest.seconds)
        tell(contest, (theirs, ours), {name: {way: spells[way] for way in ways} for name, ways in named.items()})


def take_turns(ways: list[Way], seconds: float) -> dict[Way, list[Spell]]:
    """All ways in every round, each round from another one on, after a spell of each that nobody counts."""
    for way in ways:
        measure(way, seconds)
    spells: dict[Way, list[Spell]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        start = number % len(ways)
        for way in ways[start:] + ways[:start]:
            spells[way].append(measure(way, seconds))
    return spells


def tell(contest: Contest, contenders: tuple[Contender, ...], spells: dict[str, dict[Way, list[Spell]]]) -> None:
    """Prints a contest."""
    print(f"\n{contest.version.parent.name}, {contest.what}, {ROUNDS} rounds in turns, medians:")
    for each in contenders:
        print(
            f"  {each.name}: from start to serving {each.start_seconds:.1f} s, resident "
            f"{memory_bytes(each.process) / 1e6:.0f} MB, idle {100 * each.idle_cores():.1f} % of a core"
        )
    for name, ways in spells.items():
        print(f"  {name}")
        tell_ways(ways)


def main(environment: Path = ENVIRONMENT) -> int:
    """Returns 0 as well where there is no tritonserver: then there is nothing to compare."""
    try:
        triton = Triton(environment)
    except Unavailable as reason:
        print(f"skipped: {reason}")
        return 0
    for contest in CONTESTS:
        compare(triton, contest)
    return 0


if __name__ == "__main__":
    sys.exit(main())
