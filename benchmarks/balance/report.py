"""The tables of `make bench-balance`: medians of the rounds, and ratios within each round."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import TypeVar

from benchmarks.balance.measurement import BusyServer, Load
from benchmarks.common.report import milliseconds, print_table
from benchmarks.peers.report import ratio

T = TypeVar("T", Load, BusyServer)


def print_load(rounds: Sequence[Sequence[Load]]) -> None:
    """Prints what h2load measured."""
    rows = []
    for name, measured in _by_way(rounds).items():
        direct = _by_way(rounds)["directly"]
        rows.append(
            (
                name,
                milliseconds(_median(measured, lambda each: each.p50)),
                milliseconds(_median(measured, lambda each: each.p99)),
                f"{_median(measured, lambda each: each.rate):.0f}",
                str(ratio([each.rate for each in measured], [each.rate for each in direct])),
                f"{_median(measured, lambda each: each.larger_share):.1%}",
            )
        )
    head = ("lenet, two servers", "p50, 1 caller", "p99", "answers/s, 16 callers", "of directly", "larger share")
    print_table(f"{len(rounds)} rounds in turns, medians:", head, rows)


def print_busy_server(rounds: Sequence[Sequence[BusyServer]], busy_rate: int, deadline_seconds: float) -> None:
    """Prints what callers of the client got."""
    rows = [
        (
            name,
            f"{_median(measured, lambda each: each.answered):.2%}",
            f"{_median(measured, lambda each: each.rate):.0f}",
            milliseconds(_median(measured, lambda each: each.p99)),
        )
        for name, measured in _by_way(rounds).items()
    ]
    title = (
        f"The second server takes {busy_rate} calls a second; 16 callers of the client, {deadline_seconds:g} s each:"
    )
    print_table(title, ("two servers", "answered", "answers/s", "p99"), rows)


def _by_way(rounds: Sequence[Sequence[T]]) -> dict[str, list[T]]:
    """Returns what was measured of each way, the rounds in order."""
    names = sorted((each.way.name for each in rounds[0]), key=["directly", "Envoy", "nginx"].index)
    return {name: [each for measured in rounds for each in measured if each.way.name == name] for name in names}


def _median(measured: Sequence[T], figure: Callable[[T], float]) -> float:
    return median(figure(each) for each in measured)
