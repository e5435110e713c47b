"""What is printed of the spells: medians, and ratios with their intervals."""

from collections.abc import Sequence
from math import comb
from statistics import median

from benchmarks.peers.measurement import Spell, Way
from benchmarks.peers.servers import TRITON

CONFIDENCE = 0.95


def tell_ways(spells: dict[Way, list[Spell]]) -> None:
    """One line a way, and each of Linnaeus's ways against the same number of single KServe calls to tritonserver."""
    base = next(way for way in spells if way.contender.name == TRITON)
    for way, rounds in spells.items():
        print(f"    {way.name:42} {_told(rounds)}")
    for way, rounds in spells.items():
        if way.contender.name != TRITON:
            rates = ratio([each.rate for each in rounds], [each.rate for each in spells[base]])
            tails = ratio([each.p99 for each in rounds], [each.p99 for each in spells[base]])
            print(f"    {way.name} : {base.name}, images/s = {rates}, p99 = {tails}")


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """The ratio of the medians, and an interval for the median of the rounds' ratios."""
    low, high = interval([a / b for a, b in zip(ours, theirs, strict=True)])
    return f"{median(ours) / median(theirs):.2f} ({low:.2f} to {high:.2f})"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Between which of the values the median lies, with a confidence of 95 % whatever the distribution.

    The median is below the k-th smallest of n values with the chance that fewer than k of n fair coins show heads. Of
    fewer than six values it is the whole range, which is less sure.
    """
    ranked, chance, left_out = sorted(values), 0.0, 0
    while left_out < len(ranked) // 2:
        chance += 2 * comb(len(ranked), left_out) / 2 ** len(ranked)
        if chance > 1 - CONFIDENCE:
            break
        left_out += 1
    outer = max(left_out - 1, 0)
    return ranked[outer], ranked[-1 - outer]


def _told(rounds: Sequence[Spell]) -> str:
    return (
        f"{median(each.rate for each in rounds):6.0f} images/s, "
        f"p50 {1e3 * median(each.p50 for each in rounds):6.2f} ms, "
        f"p99 {1e3 * median(each.p99 for each in rounds):6.2f} ms, "
        f"server's processor {1e6 * median(each.cost for each in rounds):6.0f} µs an image, "
        f"mean batch {median(each.batch for each in rounds):4.1f}, "
        f"caller busy {100 * median(each.busy for each in rounds):2.0f} %"
    )
