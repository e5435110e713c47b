"""The printed figures: what costs were taken from where, how they compare, and what is computed."""

from collections.abc import Iterable, Sequence

from benchmarks.common.report import milliseconds, print_table
from benchmarks.simulation.costs import Costs
from benchmarks.simulation.experiments import Point
from benchmarks.simulation.fleet import FleetPlan
from benchmarks.simulation.measurement import Load, Measured, capacity, measure

_SECONDS_AN_HOUR = 3600.0
_FOUND_SECONDS, _FOUND_WARM_UP_SECONDS = 10.0, 1.5


def unit_hours_per_million(costs: Costs, replicas: int, goodput: float) -> float:
    """Returns the core or device hours of a fleet for a million answers in time; infinite if there are none."""
    return costs.units * replicas / goodput * 1e6 / _SECONDS_AN_HOUR if goodput else float("inf")


def print_costs(name: str, costs: Costs, network_seconds: float, network_source: str) -> None:
    """Prints each figure with its source."""
    (model,) = costs.machine.models.values()
    figures = {
        "batch_seconds": ", ".join(f"{size}: {1e3 * run:.2f} ms" for size, run in model.batch_seconds.items()),
        "decode_seconds": f"{1e3 * model.decode_seconds:.2f} ms",
        "call_seconds": f"{1e3 * costs.machine.call_seconds:.2f} ms",
        "caller_seconds": f"{1e3 * costs.caller_seconds:.2f} ms",
        "noise": f"{costs.machine.noise:g}",
    }
    rows = [(key, figures[key], source) for key, source in costs.sources.items()]
    rows.append(("network, one way", f"{1e3 * network_seconds:.2f} ms", network_source))
    print_table(f"{name}: {costs.what}", ("figure", "", "from"), rows)


def print_found(costs: Costs) -> None:
    """Prints what the simulation says of one machine beside what was measured of it, with the callers on its cores."""
    if not costs.found:
        return
    machine = costs.beside_callers
    computed, found = capacity(machine), float(costs.found["capacity"])
    rows = [
        ("C, 64 callers in a closed loop", f"{computed:.0f}", f"{found:.0f}", f"{computed / found - 1:+.0%}", "", "")
    ]
    for key, in_time in costs.found["in_time"].items():
        load = Load(float(key) * computed, _FOUND_SECONDS, _FOUND_WARM_UP_SECONDS)
        goodput = measure(FleetPlan(machine, 1, client_retries=False), load).goodput
        shares = f"{goodput / computed:.2f}", f"{in_time / found:.2f}"
        rows.append(
            (f"in time at {key} C", f"{goodput:.0f}", f"{in_time:.0f}", f"{goodput / in_time - 1:+.0%}", *shares)
        )
    head = ("images/s", "simulated", "measured", "error", "of C: simulated", "measured")
    print_table("COMPUTED beside MEASURED: one machine, deadlines of 500 ms, callers on the same cores", head, rows)


def print_points(
    title: str, points: Sequence[Point], results: Iterable[Measured], costs: Costs, capacity_of_one: float
) -> None:
    """Prints a row for each point."""
    rows = []
    for point, found in zip(points, results, strict=True):
        number = point.plan.replicas
        hours = unit_hours_per_million(costs, number, found.goodput)
        rows.append(
            (
                f"{number:,}, {point.name}",
                f"{point.load:g} C",
                f"{found.goodput:,.0f}",
                f"{found.goodput / (number * capacity_of_one):.3f}",
                f"{found.in_time / found.ended:.2%}",
                f"{found.refused / found.ended:.2%}",
                f"{found.late / found.ended:.2%}",
                milliseconds(found.p50),
                milliseconds(found.p99),
                f"{hours:.2f}",
            )
        )
    head = ("replicas", "offered", "in time/s", ": C", "in time", "refused", "late", "p50", "p99")
    print_table(f"COMPUTED, NOT MEASURED: {title}", (*head, f"{costs.unit} hours a million"), rows)
