"""`make bench-peers`: the same images and the same model through Linnaeus and through NVIDIA's tritonserver.

    .venv/bin/python -m benchmarks.peers [MODEL ...] [--rounds 9]

Both servers run on this machine at the same time, and one of them idles while the other one is measured. All scenarios
are measured in turns; printed figures are medians over all rounds. Both servers get the same KServe v2 messages from
the same load generator with one connection, which shares the cores with them: h2load, or gRPC's own client for streams.
Linnaeus is called in its own API as well. The servers' answers are compared before the first round and checked during
the others. docs/decisions/0017-peers.md explains what makes the comparison fair.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from benchmarks.common.h2load import H2loadMissing, find_h2load
from benchmarks.common.process_usage import memory_bytes
from benchmarks.peers.measurement import Measurement, Scenario, measure
from benchmarks.peers.report import print_scenarios
from benchmarks.peers.scenarios import scenario_groups
from benchmarks.peers.servers import RunningServer, agreed_classes, linnaeus, tritonserver
from benchmarks.peers.triton_installation import ENVIRONMENT, TritonInstallation, Unavailable
from benchmarks.peers.turns import measure_in_turns
from benchmarks.peers.workloads import WORKLOADS, Workload, load_samples

ROUNDS = 9


def main(arguments: Sequence[str] | None = None, environment: Path = ENVIRONMENT) -> int:
    """Returns 0 even if tritonserver or h2load is missing: then there is nothing to compare.

    Args:
        arguments: of the command line; None for those of this process.
        environment: the virtual environment with tritonserver.
    """
    options = _options(arguments)
    try:
        installation = TritonInstallation(environment)
        find_h2load()
    except (Unavailable, H2loadMissing) as reason:
        print(f"skipped: {reason}")
        return 0
    for workload in WORKLOADS:
        if workload.model in options.models:
            compare(installation, workload, options.rounds)
    return 0


def compare(installation: TritonInstallation, workload: Workload, rounds: int) -> None:
    """Measures a workload on both servers and prints the figures."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        triton = tritonserver(installation, workload.version, workload.tuning, workload.takes_pixels)
        theirs, ours = opened.enter_context(triton), opened.enter_context(linnaeus(workload.version))
        samples = load_samples(workload, folder)
        samples = replace(samples, expected=agreed_classes(samples, [ours, theirs]))
        groups = scenario_groups(workload, samples, ours, theirs)
        scenarios = [scenario for group in groups.values() for scenario in group]
        measured = measure_in_turns(scenarios, workload.seconds, rounds, measure)
        print(f"\n{workload.model}, {workload.what}, {rounds} rounds in turns, medians:")
        for server in (theirs, ours):
            _print_server(server)
        _print_groups(groups, measured)


def _print_server(server: RunningServer) -> None:
    print(
        f"  {server.name}: from start to serving {server.start_seconds:.1f} s, resident "
        f"{memory_bytes(server.process) / 1e6:.0f} MB, idle {100 * server.idle_cores():.1f} % of a core"
    )


def _print_groups(groups: Mapping[str, Sequence[Scenario]], measured: Mapping[Scenario, Sequence[Measurement]]) -> None:
    for name, scenarios in groups.items():
        print(f"  {name}")
        print_scenarios({scenario: measured[scenario] for scenario in scenarios})


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    models = [workload.model for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(models)}; default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    options = parser.parse_args(arguments)
    if unknown := [model for model in options.models if model not in models]:
        parser.error(f"there is no workload of {unknown[0]}; there are: {', '.join(models)}")
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    options.models = options.models or models
    return options


if __name__ == "__main__":
    sys.exit(main())
