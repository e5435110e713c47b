"""The rates once more, by callers that leave the server nearly all of the cores: what of a loss is the callers' own.

The load tester computes 0.25 ms for a call that is refused, light callers 0.1 ms. At five times the capacity of a
server of 180 images a second that is a fifth of a core, or less than a tenth.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

from benchmarks.common.report import Finding, at_least, only_told, print_table, tell
from benchmarks.overload.arrival_rates import DEADLINE_SECONDS, FACTORS, SECONDS, WARMUP_SECONDS, measure_capacity
from benchmarks.overload.arrival_rates_report import LEAST_OF_BEST
from benchmarks.overload.environment import START_SECONDS, Ground, contents, processes, server_of, warm
from benchmarks.overload.grpc_callers import OK, Call, Crowd
from benchmarks.overload.light_callers import open_loop
from benchmarks.overload.rejecting_server import bare_server

# The server gets what it can serve, and the bare one what it would have to refuse.
BARE_FACTORS = 1.2, 3.8


@dataclass(frozen=True, slots=True)
class Spared:
    """One spell: the rate in capacities, and calls a second that were sent, and answered within their deadline."""

    factor: float
    offered: float
    goodput: float


def spared(ground: Ground) -> list[Finding]:
    """Poisson arrivals at 0.8, 1.2, 2 and 5 C by light callers; and at 1.2 C while somebody else refuses 3.8 C."""
    rounds: list[list[Spared]] = []
    beside: list[float] = []
    with server_of(ground.model, ground.repository) as server, bare_server() as bare, processes(2) as pool:
        warm(server, ground.model, ground.photographs)
        for number in range(ground.rounds):
            capacity = measure_capacity(server, ground)
            start = number % len(FACTORS)
            turns = FACTORS[start:] + FACTORS[:start]
            spells = [_measure(_begin(pool, server.target, ground, each * capacity, number), each) for each in turns]
            rounds.append(sorted(spells, key=lambda each: each.factor))
            ours, theirs = BARE_FACTORS
            serving = _begin(pool, server.target, ground, ours * capacity, number)
            refusing = _begin(pool, bare, ground, theirs * capacity, number)
            beside.append(_measure(serving, ours).goodput)
            refusing.calls.result()
    print_table("Poisson arrivals by light callers, medians", ("offered", "a second", "goodput"), _rows(rounds))
    findings = _findings(rounds, beside)
    tell(
        f"Under overload by light callers ({ground.rounds} rounds in turns, medians of ratios within a round)", findings
    )
    return findings


@dataclass(frozen=True, slots=True)
class _Spell:
    """One that is under way."""

    start: float
    calls: Future[list[Call]]


def _begin(pool: ProcessPoolExecutor, target: str, ground: Ground, rate: float, number: int) -> _Spell:
    crowd = Crowd(
        target=target,
        model=ground.model,
        pictures=contents(ground.photographs),
        start=time.monotonic() + START_SECONDS,
        seconds=WARMUP_SECONDS + SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        seed=number + 1,
    )
    return _Spell(crowd.start, pool.submit(open_loop, crowd, rate))


def _measure(spell: _Spell, factor: float) -> Spared:
    measured = [each for each in spell.calls.result() if each.intended >= spell.start + WARMUP_SECONDS]
    good = sum(each.code == OK and each.ended - each.intended <= DEADLINE_SECONDS for each in measured)
    return Spared(factor, len(measured) / SECONDS, good / SECONDS)


def _rows(rounds: Sequence[Sequence[Spared]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{each[0].factor:g} C",
            f"{median(spell.offered for spell in each):.1f}",
            f"{median(spell.goodput for spell in each):.1f}",
        )
        for each in zip(*rounds, strict=True)
    ]


def _findings(rounds: Sequence[Sequence[Spared]], beside: Sequence[float]) -> list[Finding]:
    best = [max(spell.goodput for spell in spells) for spells in rounds]
    findings = [only_told("best goodput by light callers, images/s", ", ".join(f"{each:.1f}" for each in best))]
    for factor, least in LEAST_OF_BEST.items():
        goodputs = [spell.goodput for spells in rounds for spell in spells if spell.factor == factor]
        promise = f"goodput at {factor:g} C by light callers : best of its round"
        findings.append(at_least(promise, least, _share(goodputs, best)))
    ours, theirs = BARE_FACTORS
    promise = f"goodput at {ours:g} C while a bare gRPC server refuses {theirs:g} C : best of its round"
    return [*findings, only_told(promise, f"{_share(beside, best):.3f}")]


def _share(goodputs: Sequence[float], best: Sequence[float]) -> float:
    return median(mine / most if most else 0.0 for mine, most in zip(goodputs, best, strict=True))
