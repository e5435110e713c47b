"""`make bench-overload`: what the server keeps of its promises under more load than it can serve.

    .venv/bin/python -m benchmarks.overload [PART ...] [--rounds 3] [--chaos-seconds 60]

Run it from the repository's root with lenet and efficientnet_lite0 exported. Without h2load (Debian: apt install
nghttp2-client), three parts are skipped. Everything is on loopback and shares the cores with the server. A missed
promise is printed; it does not change the exit status.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.common.h2load import has_h2load
from benchmarks.common.images import digits, photographs
from benchmarks.common.report import Finding, print_findings
from benchmarks.overload.arrival_rates import capacity, rates
from benchmarks.overload.arrival_rates_h2load import rates_h2load
from benchmarks.overload.cancellation import cancellation
from benchmarks.overload.chaos import chaos
from benchmarks.overload.environment import EXTRA_REPOSITORY, LARGE_MODEL, REPOSITORY, Environment
from benchmarks.overload.mixed_models import mixed
from benchmarks.overload.model_slowdown import slowdown

PARTS: dict[str, Callable[[Environment], list[Finding]]] = {
    "capacity": capacity,
    "rates": rates,
    "rates-h2load": rates_h2load,
    "slowdown": slowdown,
    "cancellation": cancellation,
    "mixed": mixed,
    "chaos": chaos,
}
NEED_H2LOAD = {"rates-h2load", "cancellation", "mixed"}


def main() -> None:
    """Runs the selected parts, then prints all findings."""
    options = _options()
    started = time.monotonic()
    findings: list[Finding] = []
    shutil.rmtree(EXTRA_REPOSITORY, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = _environment(Path(folder), options)
        for part in _selected(options.parts):
            print(f"\n=== {part}", flush=True)
            findings += [replace(each, promise=f"{part}: {each.promise}") for each in _run(part, environment)]
    print(f"\n=== all of it, in {time.monotonic() - started:.0f} s")
    print_findings("Promises and figures", findings)


def _run(part: str, environment: Environment) -> list[Finding]:
    if part in NEED_H2LOAD and not has_h2load():
        return []
    return PARTS[part](environment)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.overload", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of the rates, both ways, and the slowdown (default: 3)")
    parser.add_argument("--chaos-seconds", type=float, default=60.0, help="how long the chaos lasts (default: 60)")
    parser.add_argument("--model", default=LARGE_MODEL, help="for the capacity and the rates (default: %(default)s)")
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="where that is (default: %(default)s)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"there is no part {unknown[0]}; there are: {', '.join(PARTS)}")
    if options.rounds < 1 or options.chaos_seconds <= 0:
        parser.error("--rounds must be at least 1 and --chaos-seconds above 0")
    return options


def _selected(parts: Sequence[str]) -> list[str]:
    """Returns the parts in their order; `rates` measures the capacity itself."""
    wanted = set(parts or PARTS)
    return [part for part in PARTS if part in wanted and not (part == "capacity" and "rates" in wanted)]


def _environment(folder: Path, options: argparse.Namespace) -> Environment:
    wanted = options.rounds, options.chaos_seconds, options.model, options.repository
    return Environment(photographs(folder), digits(), folder, *wanted)


if __name__ == "__main__":
    main()
