"""What each process of the server spends on an image, by thread, with a model that costs nothing.

    .venv/bin/python -m benchmarks.front_ends.stages [pixels] [jpeg] [memory] [--rounds 9] [--front-ends 1 2]

One process, and an engine with one and with two front ends, answer 64 callers on eight connections of h2load, in turns.
From what an image costs follows what more cores could serve, by a formula that is compared with the cores here. A
round with a failed call is void. The servers idle while another one is measured; for the memory each runs alone.
"""

import argparse
import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from benchmarks.common.h2load import has_h2load
from benchmarks.front_ends.capacity_report import print_computed
from benchmarks.front_ends.free_model import FreeModel, free_jpeg, free_pixels
from benchmarks.front_ends.server_memory import measure_memory, print_memory
from benchmarks.front_ends.stage_measurement import measure_stages
from benchmarks.front_ends.stage_report import named, print_goals, print_rates, print_stages
from benchmarks.peers.measurement import Scenario
from benchmarks.peers.servers import linnaeus
from benchmarks.peers.turns import measure_in_turns

PARTS = {"pixels": free_pixels, "jpeg": free_jpeg}
MEMORY = "memory"
_CORES = os.cpu_count() or 1
FRONT_ENDS_OF_MEMORY = (0, 1, 2, 4)


def main() -> int:
    """Returns 0 even if h2load is missing: then there is nothing to measure."""
    options = _options()
    if not has_h2load():
        return 0
    with tempfile.TemporaryDirectory() as name:
        for part in options.parts:
            folder = Path(name) / part
            folder.mkdir()
            if part == MEMORY:
                compare_memory(free_pixels(folder))
            else:
                compare(PARTS[part](folder), options)
    return 0


def compare(model: FreeModel, options: argparse.Namespace) -> None:
    """Measures a free model on all servers and prints the figures."""
    print(
        f"\n{'=' * 100}\nFree model (the same answer for every image), {model.what}: {options.callers} callers on "
        f"{options.connections} connections.\nMedians of {options.rounds} rounds of {options.seconds:g} s in turns, "
        f"{_CORES} cores. By itself the model takes {1e6 * model.seconds():.0f} µs for a batch of eight.",
        flush=True,
    )
    with ExitStack() as opened:
        scenarios = {}
        for count in (0, *options.front_ends):
            server = opened.enter_context(linnaeus(model.version, "--front-ends", str(count), name=named(count)))
            scenarios[count] = Scenario(server, "Classify", model.requests, options.callers, options.connections)
        found = measure_in_turns(list(scenarios.values()), options.seconds, options.rounds, measure_stages)
    measured = {count: found[scenario] for count, scenario in scenarios.items()}
    by_name = {named(count): rounds for count, rounds in measured.items()}
    print_stages(by_name)
    print_rates(by_name)
    print_goals({named(count): measured[count] for count in options.front_ends})
    print_computed({count: measured[count] for count in options.front_ends}, _CORES)


def compare_memory(model: FreeModel) -> None:
    """Measures the memory of servers with more and more front ends, one after the other, and prints it."""
    counts = FRONT_ENDS_OF_MEMORY
    print_memory({named(count): measure_memory(model.version, model.requests, count) for count in counts})


def _options() -> argparse.Namespace:
    parts = [*PARTS, MEMORY]
    parser = argparse.ArgumentParser(prog="benchmarks.front_ends.stages", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)}; default: all")
    parser.add_argument("--rounds", type=int, default=9, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a round; default: %(default)s")
    parser.add_argument("--front-ends", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--callers", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--connections", type=int, default=8, help="default: %(default)s")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in parts]:
        parser.error(f"there is no part {unknown[0]}; there are: {', '.join(parts)}")
    options.parts = options.parts or parts
    return options


if __name__ == "__main__":
    sys.exit(main())
