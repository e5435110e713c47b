"""`make bench-replicas`: what 1 to 1,000 replicas behind load balancers answer in time, simulated from measured costs.

    .venv/bin/python -m benchmarks.simulation [PART ...] [--replicas 1 10 100 1000] [--loads 0.5 ...] [--processes 2]

Run it from the repository's root. No server is started: `costs.toml` has what was measured of servers, and each replica
is the batch queue that serves. Loads are multiples of C, what 64 callers get of a replica in a closed loop.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.simulation.balancing import POLICIES
from benchmarks.simulation.costs import network, read_costs
from benchmarks.simulation.experiments import (
    COMPARED_REPLICAS,
    LOADS,
    REPLICAS,
    Point,
    circumstances,
    fleet,
    policies,
    remedies,
    run,
    sizes,
)
from benchmarks.simulation.fleet import FleetPlan
from benchmarks.simulation.measurement import capacity
from benchmarks.simulation.plot import plot_sizes
from benchmarks.simulation.report import print_costs, print_found, print_points
from linnaeus.models.plots.figure_file import save_figure

SIZES = "sizes"
PARTS: dict[str, Callable[[FleetPlan], list[Point]]] = {
    "policies": lambda base: policies(base, POLICIES),
    "remedies": remedies,
    "circumstances": circumstances,
}


def main() -> None:
    """Prints the costs, the comparison with what was measured, and the parts; writes the plot."""
    options, started = _options(), time.monotonic()
    costs, link = read_costs()[options.costs], network()
    print_costs(options.costs, costs, link.one_way_seconds, link.source)
    print_found(costs)
    of_one = capacity(costs.machine, options.callers)
    print(f"\nC of a replica with callers elsewhere, simulated: {of_one:,.0f} images/s", flush=True)
    base = fleet(costs, options.compared, link.one_way_seconds)
    for part in options.parts:
        points = sizes(base, options.replicas, options.loads) if part == SIZES else PARTS[part](base)
        if options.seconds is not None:
            points = [each.for_seconds(options.seconds) for each in points]
        results = run(points, of_one, options.processes)
        print_points(part, points, results, costs, of_one)
        if part == SIZES:
            title = f"{costs.what}, least request of 2, deadlines of 500 ms: simulated"
            save_figure(plot_sizes(points, results, of_one, title), options.plot)
            print(f"\nplot: {options.plot}")
    print(f"\nall of it in {time.monotonic() - started:.0f} s")


def _options() -> argparse.Namespace:
    parts, kinds = [SIZES, *PARTS], read_costs()
    parser = argparse.ArgumentParser(prog="benchmarks.simulation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; default: all")
    parser.add_argument("--costs", choices=kinds, default="efficientnet_lite0", help="default: %(default)s")
    parser.add_argument("--replicas", type=int, nargs="+", default=REPLICAS, help="of sizes; default: 1 10 100 1000")
    parser.add_argument("--compared", type=int, default=COMPARED_REPLICAS, help="replicas of other parts: %(default)s")
    parser.add_argument("--loads", type=float, nargs="+", default=LOADS, help="of sizes; default: 0.5 0.8 1 1.5 2 3")
    parser.add_argument("--seconds", type=float, help="simulated while measured; default: fewer for more replicas")
    parser.add_argument("--callers", type=int, default=64, help="of the closed loop that C is: %(default)s")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="default: one a core")
    parser.add_argument("--plot", type=Path, default=Path("runs/replicas.png"), help="default: %(default)s")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"there is no part {unknown[0]}; there are: {', '.join(parts)}")
    if min(*options.replicas, options.processes, options.callers) < 1 or options.compared < 2:
        parser.error("--replicas, --processes and --callers must be at least 1, --compared at least 2")
    if min(*options.loads, options.seconds or 1.0) <= 0:
        parser.error("--loads and --seconds must be above 0")
    options.parts = options.parts or parts
    return options


if __name__ == "__main__":
    main()
