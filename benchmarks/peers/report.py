"""Printed figures of the comparison: medians, and ratios with their confidence intervals."""

from collections.abc import Mapping, Sequence
from math import comb
from statistics import median

from benchmarks.peers.measurement import Measurement, Scenario
from benchmarks.peers.servers import TRITON

CONFIDENCE = 0.95


def print_scenarios(measured: Mapping[Scenario, Sequence[Measurement]]) -> None:
    """Prints a line for each scenario, and compares each of Linnaeus's with the first of tritonserver's."""
    base = next(scenario for scenario in measured if scenario.server.name == TRITON)
    for scenario, rounds in measured.items():
        print(f"    {scenario.name:42} {_figures(rounds)}")
    for scenario, rounds in measured.items():
        if scenario.server.name != TRITON:
            rates = ratio([each.rate for each in rounds], [each.rate for each in measured[base]])
            tails = ratio([each.p99 for each in rounds], [each.p99 for each in measured[base]])
            print(f"    {scenario.name} : {base.name}, images/s = {rates}, p99 = {tails}")


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> str:
    """Formats the ratio of the medians, with a confidence interval for the median of the rounds' ratios."""
    low, high = confidence_interval([a / b for a, b in zip(ours, theirs, strict=True)])
    return f"{median(ours) / median(theirs):.2f} ({low:.2f} to {high:.2f})"


def confidence_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns two of the values, between which the median lies with 95 % confidence whatever the distribution.

    The median is below the k-th smallest of n values with the probability that fewer than k of n fair coins show heads.
    Of fewer than six values it is the whole range, whose confidence is lower.
    """
    ranked, probability, left_out = sorted(values), 0.0, 0
    while left_out < len(ranked) // 2:
        probability += 2 * comb(len(ranked), left_out) / 2 ** len(ranked)
        if probability > 1 - CONFIDENCE:
            break
        left_out += 1
    outer = max(left_out - 1, 0)
    return ranked[outer], ranked[-1 - outer]


def _figures(rounds: Sequence[Measurement]) -> str:
    return (
        f"{median(each.rate for each in rounds):6.0f} images/s, "
        f"p50 {1e3 * median(each.p50 for each in rounds):6.2f} ms, "
        f"p99 {1e3 * median(each.p99 for each in rounds):6.2f} ms, "
        f"server's processor {1e6 * median(each.processor_seconds for each in rounds):6.0f} µs an image, "
        f"mean batch {median(each.batch_size for each in rounds):4.1f}, "
        f"caller busy {100 * median(each.client_busy for each in rounds):2.0f} %"
    )
