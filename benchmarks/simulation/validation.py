"""Compares the simulation with servers: the same load to one and to two, and to the simulated ones.

    .venv/bin/python -m benchmarks.simulation.validation [--seconds 4] [--rounds 3] [--servers 1 2]

Run it from the repository's root. The servers' model sleeps (`sleeping_model`), since two that compute would share the
cores. The load tester sends digits on loopback, in turns to the two.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.common.images import digits
from benchmarks.common.report import milliseconds, print_table
from benchmarks.common.sleeping_model import write_sleeping_model
from benchmarks.common.sleeping_server import SleepingServer
from benchmarks.simulation.fleet import FleetPlan
from benchmarks.simulation.measurement import Load, Measured, measure
from benchmarks.simulation.replica import Machine, SimulatedModel
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.results import Measurement
from linnaeus.client.load.scenarios import run_single

MODEL = "asleep"
# What a batch takes, and each image of it: about a small network on two cores.
BATCH_SECONDS, IMAGE_SECONDS = 0.014, 0.006
MAX_BATCH_SIZE = 8
OPTIONS = ("--front-ends", "0", "--streams", "1")
LOADS = (0.5, 0.8, 1.2, 2.0, 3.0)
SERVERS = (1, 2)
DEADLINE_SECONDS = 0.5
WARM_UP_SECONDS = 1.5
# Staging beside the sleep, and the step of the loop that hands results over.
_OVERHEAD_SECONDS = 0.0005
_DECODE_SECONDS = 0.0001
# The throughput of full batches, of which the loads are multiples.
CAPACITY = MAX_BATCH_SIZE / (BATCH_SECONDS + MAX_BATCH_SIZE * IMAGE_SECONDS + _OVERHEAD_SECONDS)


@dataclass(frozen=True, slots=True)
class Figures:
    """What callers got: images a second in time, the share refused, seconds."""

    goodput: float
    refused: float
    p50: float | None
    p99: float | None


def main() -> None:
    """Prints simulated and measured figures side by side."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.simulation.validation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--servers", type=int, nargs="+", default=SERVERS, help="how many; default: 1 2")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="in C; default: 0.5 0.8 1.2 2 3")
    options = parser.parse_args()
    cases = [(count, load) for count in options.servers for load in options.loads]
    print_comparison(compare(cases, options.seconds, options.rounds))


def compare(
    cases: Sequence[tuple[int, float]], seconds: float, rounds: int
) -> dict[tuple[int, float], tuple[list[Figures], Figures]]:
    """Returns the measured rounds and the simulated figures, by number of servers and load."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        write_sleeping_model(Path(name), MODEL, IMAGE_SECONDS, BATCH_SECONDS, MAX_BATCH_SIZE)
        arguments = ("--repository", name, *OPTIONS)
        servers = [stack.enter_context(SleepingServer(*arguments)) for _ in range(max(count for count, _ in cases))]
        measured: dict[tuple[int, float], list[Figures]] = {case: [] for case in cases}
        for number in range(rounds):
            for count, load in cases:
                target = "ipv4:" + ",".join(each.target for each in servers[:count])
                measured[count, load].append(_measured(target, count * load * CAPACITY, seconds, number))
    return {(count, load): (found, simulated(count, load)) for (count, load), found in measured.items()}


def simulated(servers: int, load: float, seconds: float = 20.0) -> Figures:
    """Returns what the simulation says of such servers."""
    sizes = (1, 2, 4, MAX_BATCH_SIZE)
    batches = {size: BATCH_SECONDS + size * IMAGE_SECONDS + _OVERHEAD_SECONDS for size in sizes}
    machine = Machine({MODEL: SimulatedModel(batches, _DECODE_SECONDS)}, workers=1, decoders=2, noise=0.01)
    plan = FleetPlan(machine, servers, policy="round robin", deadline_seconds=DEADLINE_SECONDS, client_retries=False)
    return _figures(measure(plan, Load(servers * load * CAPACITY, seconds, WARM_UP_SECONDS)))


def print_comparison(found: dict[tuple[int, float], tuple[list[Figures], Figures]]) -> None:
    """Prints a row for each load: simulated, measured (median), and how far off."""
    rows = []
    for (servers, load), (rounds, computed) in found.items():
        goodput = median(each.goodput for each in rounds)
        rows.append(
            (
                f"{servers} at {load:g} C",
                f"{computed.goodput:.1f}",
                f"{goodput:.1f}",
                f"{computed.goodput / goodput - 1:+.1%}",
                f"{computed.refused:.1%}",
                f"{median(each.refused for each in rounds):.1%}",
                f"{milliseconds(computed.p50)}, {milliseconds(computed.p99)}",
                f"{_median([each.p50 for each in rounds])}, {_median([each.p99 for each in rounds])}",
            )
        )
    head = ("servers", "in time/s: simulated", "measured", "error", "not in time: simulated", "measured")
    print_table(
        f"Simulated against measured; C = {CAPACITY:.1f} images/s, deadline {milliseconds(DEADLINE_SECONDS)}",
        (*head, "p50, p99: simulated", "measured"),
        rows,
    )


def _measured(target: str, rate: float, seconds: float, number: int) -> Figures:
    plan = Plan(
        target=target,
        pictures=digits(),
        model=MODEL,
        rate=rate,
        duration_seconds=seconds,
        warmup_seconds=WARM_UP_SECONDS,
        deadline_seconds=DEADLINE_SECONDS,
        processes=1,
        metrics_url="",
        seed=number + 1,
    )
    measured: Measurement = run_single(plan, NoProgress()).measurements[0]
    if measured.tester.was_the_limit:
        print(f"  at {rate:.0f} calls/s: {measured.tester.reason}", flush=True)
    refused = 1.0 - measured.counts.ok / max(measured.counts.sent, 1)
    return Figures(measured.counts.ok / seconds, refused, measured.latency.p50, measured.latency.p99)


def _figures(found: Measured) -> Figures:
    return Figures(found.goodput, 1.0 - found.in_time / found.ended, found.p50, found.p99)


def _median(values: Sequence[float | None]) -> str:
    return milliseconds(median(each for each in values if each is not None) if any(values) else None)


if __name__ == "__main__":
    main()
