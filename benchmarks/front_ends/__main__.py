"""`make bench-front-ends`: one process against one engine with front ends, and against tritonserver if it is there.

    .venv/bin/python -m benchmarks.front_ends [MODEL ...] [--rounds 9] [--front-ends 1 2] [--connections 8]

All servers run on this machine at the same time, and all but one idle while that one is measured, in turns. The load
is h2load's on several connections, as front ends share the port: the kernel deals connections out among them. The
first server, one process, runs twice: the ratio of the two is the noise. A round with a failed call is void.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.common.h2load import has_h2load
from benchmarks.common.process_usage import memory_bytes
from benchmarks.peers.measurement import Measurement, Scenario, measure
from benchmarks.peers.report import ratio
from benchmarks.peers.request_sets import Samples, classify_requests, kserve_requests
from benchmarks.peers.servers import TRITON, RunningServer, agreed_classes, linnaeus, tritonserver
from benchmarks.peers.triton_installation import ENVIRONMENT, TritonInstallation, Unavailable
from benchmarks.peers.turns import measure_in_turns
from benchmarks.peers.workloads import WORKLOADS, Workload, load_samples

ROUNDS = 9
# More servers share the memory than in `make bench-peers`, and each of them is slower for it.
_LONGER = 1.5


def main() -> int:
    """Returns 0 even if h2load is missing: then there is nothing to measure."""
    options = _options()
    if not has_h2load():
        return 0
    for workload in WORKLOADS:
        if workload.model in options.models:
            compare(workload, options)
    return 0


def compare(workload: Workload, options: argparse.Namespace) -> None:
    """Measures a workload on all servers and prints the figures."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        servers = _servers(workload, options.front_ends, opened)
        samples = load_samples(workload, folder)
        samples = replace(samples, expected=agreed_classes(samples, servers))
        scenarios = _scenarios(workload, samples, servers, options.connections)
        measured = measure_in_turns(scenarios, _LONGER * workload.seconds, options.rounds, measure)
        print(
            f"\n{workload.model}, {workload.what}, {options.rounds} rounds in turns, {options.connections} connections:"
        )
        for server in servers:
            print(f"  {server.name}: start {server.start_seconds:.1f} s, {memory_bytes(server.process) / 1e6:.0f} MB")
        for callers in workload.callers:
            _print_callers(callers, {each: measured[each] for each in scenarios if each.concurrency == callers})


def _servers(workload: Workload, front_ends: Sequence[int], opened: ExitStack) -> list[RunningServer]:
    version = workload.version
    servers = [
        opened.enter_context(linnaeus(version, "--front-ends", "0", name=name))
        for name in ("one process", "the same again")
    ]
    for count in front_ends:
        name = f"{count} front end{'s' * (count > 1)}"
        servers.append(opened.enter_context(linnaeus(version, "--front-ends", str(count), name=name)))
    try:
        installation = TritonInstallation(ENVIRONMENT)
    except Unavailable as reason:
        print(f"without {TRITON}: {reason}")
    else:
        triton = tritonserver(installation, version, workload.tuning, workload.takes_pixels)
        servers.append(opened.enter_context(triton))
    return servers


def _scenarios(
    workload: Workload, samples: Samples, servers: Sequence[RunningServer], connections: int
) -> list[Scenario]:
    single, own = kserve_requests(samples), classify_requests(samples)
    made = []
    for callers in workload.callers:
        used = min(callers, connections)
        for server in servers:
            if server.name != TRITON:
                made.append(Scenario(server, "Classify", own, callers, used))
            made.append(Scenario(server, "KServe", single, callers, used))
    return made


def _print_callers(callers: int, measured: Mapping[Scenario, Sequence[Measurement]]) -> None:
    base = next(iter(measured))
    print(f"  {callers} caller{'s' * (callers > 1)}")
    for scenario, rounds in measured.items():
        rates = ratio([each.rate for each in rounds], [each.rate for each in measured[base]])
        tails = ratio([each.p99 for each in rounds], [each.p99 for each in measured[base]])
        print(
            f"    {scenario.name:24} {median(each.rate for each in rounds):6.0f} images/s = {rates}, "
            f"p99 {1e3 * median(each.p99 for each in rounds):6.2f} ms = {tails}, "
            f"processor {1e6 * median(each.processor_seconds for each in rounds):6.0f} µs an image"
        )


def _options() -> argparse.Namespace:
    models = [workload.model for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="benchmarks.front_ends", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(models)}; default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--front-ends", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    parser.add_argument("--connections", type=int, default=8, help="default: %(default)s")
    options = parser.parse_args()
    if unknown := [model for model in options.models if model not in models]:
        parser.error(f"there is no workload of {unknown[0]}; there are: {', '.join(models)}")
    options.models = options.models or models
    return options


if __name__ == "__main__":
    sys.exit(main())
