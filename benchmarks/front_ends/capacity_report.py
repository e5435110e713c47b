"""The printed figures that are computed: what a formula says of the cores here, and of more of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import median

from benchmarks.common.report import print_table
from benchmarks.front_ends.capacity import ImageCost, best_split, capacity
from benchmarks.front_ends.stage_measurement import StageMeasurement, image_cost
from benchmarks.front_ends.stage_report import named

COMPUTED_CORES = (4, 8, 16, 32)


def print_computed(measured: Mapping[int, Sequence[StageMeasurement]], cores: int) -> None:
    """Prints the formula, what it says of this machine beside what was measured, and what it says of larger ones.

    It computes from the costs with the most front ends: the engine has the largest batches there, as it has where more
    cores call.

    Args:
        measured: the rounds, by number of front ends.
        cores: of this machine.
    """
    most = max(measured)
    cost = image_cost(measured[most])
    _print_formula(cost, most, median(each.batch_size for each in measured[most]))
    _print_prediction(measured, cost, cores)
    _print_capacity(replace(cost, caller=0.0))


def _print_formula(cost: ImageCost, front_ends: int, batch_size: float) -> None:
    print(
        f"\nThe formula, from the figures with {named(front_ends)}: images a second are the least of\n"
        f"  cores / (engine + front end)     {_micro(cost.engine)} + {_micro(cost.front_end)} µs an image\n"
        f"  1 / engine's event loop          {_micro(cost.engine_loop)} µs: one interpreter, never more than one core\n"
        f"  front ends / their event loops   {_micro(cost.front_end_loop)} µs: one core for each\n"
        f"The engine spends less on an image in a larger batch; here a batch had {batch_size:.1f}.\n"
        f"A model's own work is not in it: on a CPU it takes cores from the first line, on a GPU it does not."
    )


def _print_prediction(measured: Mapping[int, Sequence[StageMeasurement]], cost: ImageCost, cores: int) -> None:
    rows = []
    for front_ends, rounds in measured.items():
        computed, rate = capacity(cost, cores, front_ends), median(each.rate for each in rounds)
        share = f"{rate / computed.images_per_second:.2f}"
        rows.append((named(front_ends), f"{computed.images_per_second:,.0f}", f"{rate:,.0f}", share, computed.bound))
    head = ("", "computed", "measured", "measured : computed", "bound by")
    print_table(f"The formula on the {cores} cores here, with h2load's work; images a second", head, rows)


def _print_capacity(cost: ImageCost) -> None:
    best = {cores: best_split(cost, cores) for cores in COMPUTED_CORES}
    rows = [
        (f"{cores} cores", f"{split.images_per_second:,.0f}", str(split.front_ends), split.bound)
        for cores, split in best.items()
    ]
    title = "COMPUTED, NOT MEASURED: more cores like these, callers elsewhere, a model that costs nothing"
    print_table(title, ("", "images/s", "front ends", "bound by"), rows)


def _micro(seconds: float) -> str:
    return f"{1e6 * seconds:.0f}"
