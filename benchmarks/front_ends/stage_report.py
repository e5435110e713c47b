"""The printed figures of the stages: processor time of an image, goals, and what more cores could serve."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TypeAlias

from benchmarks.common.report import Finding, at_most, print_findings, print_table
from benchmarks.common.server_processes import ENGINE, ROLES, STAGES
from benchmarks.front_ends.capacity import ImageCost, best_split, capacity
from benchmarks.front_ends.stage_measurement import StageMeasurement
from benchmarks.peers.report import confidence_interval, ratio

ENGINE_GOAL_MICROSECONDS = 60.0
FRONT_END_GOAL_MICROSECONDS = 120.0
COMPUTED_CORES = (4, 8, 16, 32)
# A thread or a process that takes less has no row.
_LEAST_MICROSECONDS = 0.5

# The rounds of each server, by its name.
Rounds: TypeAlias = Mapping[str, Sequence[StageMeasurement]]


def print_stages(measured: Rounds) -> None:
    """Prints the processor time of an image by process and thread, a column for each server."""
    rows = [row for role in ROLES for row in _role_rows(role, measured)]
    rows.append(_row("the whole server", measured, "{:.1f}", lambda each: 1e6 * each.server))
    rows.append(_row("h2load, on the same cores", measured, "{:.1f}", lambda each: 1e6 * each.caller))
    print_table("Processor time of an image, µs, by process and by its threads", ("", *measured), rows)


def print_rates(measured: Rounds) -> None:
    """Prints images a second, for each second of processor time too, and how long batches took."""
    rates = [[each.rate for each in rounds] for rounds in measured.values()]
    rows = [
        _row("images a second", measured, "{:,.0f}", lambda each: each.rate),
        ("  their 95 % interval", *map(_interval, rates)),
        ("  : one process", *(ratio(rate, rates[0]) for rate in rates)),
        _row("images for each processor second of the server", measured, "{:,.0f}", lambda each: 1 / each.server),
        _row("cores busy, with h2load", measured, "{:.2f}", lambda each: each.rate * (each.server + each.caller)),
        _row("images in a batch, mean", measured, "{:.1f}", lambda each: each.batch_size),
        _row("duration of a batch in the server, µs", measured, "{:.0f}", lambda each: 1e6 * each.batch_seconds),
    ]
    print_table("Throughput", ("", *measured), rows)


def print_goals(several: Rounds) -> None:
    """Prints what was promised for the engine and for front ends, as measured."""
    print_findings("Goals, processor time of an image", _goals(several))


def print_prediction(several: Mapping[int, Sequence[StageMeasurement]], cost: ImageCost, cores: int) -> None:
    """Prints what the formula computes for this machine beside what was measured, with the load generator's part.

    Args:
        several: the rounds, by number of front ends.
        cost: what the formula computes from.
        cores: of this machine.
    """
    rows = []
    for front_ends, rounds in several.items():
        computed, rate = capacity(cost, cores, front_ends), _median(rounds, lambda each: each.rate)
        share = f"{rate / computed.images_per_second:.2f}"
        rows.append((named(front_ends), f"{computed.images_per_second:,.0f}", f"{rate:,.0f}", share, computed.bound))
    head = ("", "computed", "measured", "measured : computed", "bound by")
    print_table(f"The formula on the {cores} cores here, h2load's work included; images a second", head, rows)


def print_capacity(cost: ImageCost) -> None:
    """Prints what more cores could serve, with no load generator on them."""
    rows = []
    for cores in COMPUTED_CORES:
        best = best_split(cost, cores)
        rows.append((f"{cores} cores", f"{best.images_per_second:,.0f}", str(best.front_ends), best.bound))
    print_table(
        "COMPUTED, NOT MEASURED: images a second of more cores like these; callers elsewhere, a model that is free",
        ("", "images/s", "front ends", "bound by"),
        rows,
    )


def print_costs(cost: ImageCost, front_ends: int, batch_size: float) -> None:
    """Prints the formula and the figures that it computes from.

    Args:
        cost: what it computes from.
        front_ends: with how many of them the cost was measured.
        batch_size: mean number of images in a batch meanwhile.
    """
    engine, loop, front_end, its_loop = (
        f"{1e6 * value:.0f}" for value in (cost.engine, cost.engine_loop, cost.front_end, cost.front_end_loop)
    )
    print(
        f"\nThe formula: images/s = the least of\n"
        f"  cores / (engine + front end)     {engine} + {front_end} µs an image, as {named(front_ends)} had them\n"
        f"  1 / engine's event loop          {loop} µs: one interpreter, so never more than one core\n"
        f"  front ends / their event loop    {its_loop} µs: one core each\n"
        f"The engine spends less on an image the more of them are in a batch: here {batch_size:.1f}. A model's own work is\n"
        f"not in it: on a CPU it takes cores from the first line, on a GPU it does not."
    )


def _role_rows(role: str, measured: Rounds) -> Iterator[tuple[str, ...]]:
    """Yields a row for the processes of a role, and one for each kind of their threads."""
    for kind in (None, *STAGES):

        def microseconds(each: StageMeasurement, kind: str | None = kind) -> float:
            return 1e6 * each.of(role, kind)

        if any(_median(rounds, microseconds) >= _LEAST_MICROSECONDS for rounds in measured.values()):
            yield _row(f"  {kind}" if kind else role, measured, "{:.1f}", microseconds)


def _row(name: str, measured: Rounds, form: str, value: Callable[[StageMeasurement], float]) -> tuple[str, ...]:
    """Returns a row of medians; those that are 0 do not exist."""
    values = (_median(rounds, value) for rounds in measured.values())
    return (name, *(form.format(each) if each else "-" for each in values))


def _goals(several: Rounds) -> Iterator[Finding]:
    for name, rounds in several.items():
        engine = 1e6 * _median(rounds, lambda each: each.of(ENGINE))
        front_end = 1e6 * _median(rounds, lambda each: each.beyond_decoding)
        yield at_most(f"engine, {name}", ENGINE_GOAL_MICROSECONDS, engine, " µs", 1)
        yield at_most(f"front end beyond decoding, {name}", FRONT_END_GOAL_MICROSECONDS, front_end, " µs", 1)


def _median(rounds: Sequence[StageMeasurement], value: Callable[[StageMeasurement], float]) -> float:
    return median(value(each) for each in rounds)


def _interval(values: Sequence[float]) -> str:
    low, high = confidence_interval(values)
    return f"{low:,.0f} to {high:,.0f}"


def named(front_ends: int) -> str:
    """Returns a server's name, as it is printed."""
    return f"{front_ends} front end{'s' * (front_ends > 1)}" if front_ends else "one process"
