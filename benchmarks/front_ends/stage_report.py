"""The printed figures that were measured: processor time of an image by stage, throughput, and the goals."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import TypeAlias

from benchmarks.common.report import Finding, at_most, print_findings, print_table
from benchmarks.common.server_processes import ENGINE, ROLES, STAGES
from benchmarks.front_ends.stage_measurement import StageMeasurement
from benchmarks.peers.report import confidence_interval, ratio

ENGINE_GOAL_MICROSECONDS = 60.0
FRONT_END_GOAL_MICROSECONDS = 120.0
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
        _row(
            "cores busy with the server and h2load",
            measured,
            "{:.2f}",
            lambda each: each.rate * (each.server + each.caller),
        ),
        _row("  with other work, which disturbs", measured, "{:.2f}", lambda each: each.others_cores),
        _row("images in a batch, mean", measured, "{:.1f}", lambda each: each.batch_size),
        _row("duration of a batch in the server, µs", measured, "{:.0f}", lambda each: 1e6 * each.batch_seconds),
    ]
    print_table("Throughput", ("", *measured), rows)


def print_goals(several: Rounds) -> None:
    """Prints what was promised for the engine and for front ends, as measured."""
    print_findings("Goals, processor time of an image", _goals(several))


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
