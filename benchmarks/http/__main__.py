"""`make bench-http`: HTTP against gRPC, and gRPC with the HTTP port on against off.

    .venv/bin/python -m benchmarks.http [MODEL ...] [--rounds 9] [--front-ends 0 1] [--callers 1 8 64]

All servers run on this machine at the same time, and all but one idle while that one is measured, in turns. The load
is h2load's. By HTTP each caller has a connection of its own, as HTTP/1.1 wants it; by gRPC they share up to eight. The
first server has no HTTP port, and runs twice: the ratio of the two is the noise. Answers are counted by the server.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.common.h2load import has_h2load
from benchmarks.http.requests import body_requests, json_requests, kserve_http_requests, send
from benchmarks.peers.measurement import Measurement, Scenario, measure
from benchmarks.peers.report import ratio
from benchmarks.peers.request_sets import RequestSet, Samples, classify_requests, kserve_requests
from benchmarks.peers.servers import RunningServer, agreed_classes, linnaeus
from benchmarks.peers.turns import measure_in_turns
from benchmarks.peers.workloads import WORKLOADS, Workload, load_samples

ROUNDS = 9
_CONNECTIONS = 8


def main() -> int:
    """Returns 0 even if h2load is missing: then there is nothing to measure."""
    options = _options()
    if not has_h2load():
        return 0
    for workload in WORKLOADS:
        if workload.model in options.models:
            for front_ends in options.front_ends:
                compare(workload, front_ends, options)
    return 0


def compare(workload: Workload, front_ends: int, options: argparse.Namespace) -> None:
    """Measures a workload on servers with as many front ends, and prints the figures."""
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        servers = [
            opened.enter_context(
                linnaeus(workload.version, "--front-ends", str(front_ends), "--http-port", port, name=name)
            )
            for name, port in (("HTTP off", "-1"), ("HTTP off again", "-1"), ("HTTP on", "0"))
        ]
        samples = load_samples(workload, folder)
        samples = replace(samples, expected=agreed_classes(samples, servers))
        scenarios = [each for callers in options.callers for each in _scenarios(servers, samples, callers)]
        measured = measure_in_turns(scenarios, workload.seconds, options.rounds, partial(measure, send=send))
    print(f"\n{workload.model}, {workload.what}, --front-ends {front_ends}, {options.rounds} rounds in turns:")
    for callers in options.callers:
        _print_callers(callers, {each: measured[each] for each in scenarios if each.concurrency == callers})


def _scenarios(servers: Sequence[RunningServer], samples: Samples, callers: int) -> list[Scenario]:
    connections, on = min(callers, _CONNECTIONS), servers[-1]
    own = classify_requests(samples)
    made = [Scenario(server, "gRPC Classify", own, callers, connections) for server in servers]
    made.append(Scenario(on, "gRPC ModelInfer", kserve_requests(samples), callers, connections))
    return made + [Scenario(on, name, each, callers, callers) for name, each in _http_requests(samples).items()]


def _http_requests(samples: Samples) -> dict[str, RequestSet]:
    if samples.shape is None:
        return {"HTTP, the picture": body_requests(samples), "HTTP, JSON": json_requests(samples)}
    return {"HTTP, JSON": json_requests(samples), "HTTP, KServe": kserve_http_requests(samples)}


def _print_callers(callers: int, measured: Mapping[Scenario, Sequence[Measurement]]) -> None:
    base = next(iter(measured))
    print(f"  {callers} caller{'s' * (callers > 1)}")
    for scenario, rounds in measured.items():
        rates = ratio([each.rate for each in rounds], [each.rate for each in measured[base]])
        costs = [each.processor_seconds for each in rounds]
        more = ratio(costs, [each.processor_seconds for each in measured[base]])
        print(
            f"    {scenario.name:30} {median(each.rate for each in rounds):6.0f} answers/s = {rates}, "
            f"processor {1e6 * median(costs):6.0f} µs an answer = {more}, "
            f"p99 {1e3 * median(each.p99 for each in rounds):6.2f} ms"
        )


def _options() -> argparse.Namespace:
    models = [workload.model for workload in WORKLOADS]
    parser = argparse.ArgumentParser(prog="benchmarks.http", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(models)}; default: all")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="default: %(default)s")
    parser.add_argument("--front-ends", type=int, nargs="+", default=[0, 1], help="default: 0 1")
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 8, 64], help="default: 1 8 64")
    options = parser.parse_args()
    if unknown := [model for model in options.models if model not in models]:
        parser.error(f"there is no workload of {unknown[0]}; there are: {', '.join(models)}")
    options.models = options.models or models
    return options


if __name__ == "__main__":
    sys.exit(main())
