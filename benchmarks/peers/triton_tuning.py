"""Finds the settings with which tritonserver is fastest: `python -m benchmarks.peers.triton_tuning [MODEL ...]`.

`workloads` has the result. Each setting runs alone, a few times with few and with many callers; the machine must be
idle otherwise.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import median

from benchmarks.peers.measurement import Measurement, Scenario, measure
from benchmarks.peers.request_sets import kserve_requests
from benchmarks.peers.servers import agreed_classes, tritonserver
from benchmarks.peers.triton_installation import TritonInstallation
from benchmarks.peers.triton_repository import Tuning
from benchmarks.peers.workloads import WORKLOADS, Workload, load_samples

RUNS = 3
CALLERS = (16, 64)
FORMS = ("plain", "frozen", "frozen, channels last", "optimized")


def candidates(workload: Workload) -> Iterator[Tuning]:
    """Yields ways to share the cores, then forms of the module, then batch sizes and queue delays."""
    best, cores = workload.tuning, len(os.sched_getaffinity(0))
    for instances, spin in product((1, cores), (None, 5000)):
        share = cores // instances
        yield replace(best, instances=instances, threads=share, decoders=share, spin_count=spin)
    yield replace(best, instances=1, threads=1, decoders=1)
    yield from (replace(best, form=form) for form in FORMS)
    yield from (replace(best, max_batch_size=size) for size in (4, 8, 16, 32, 64))
    yield from (replace(best, queue_delay_microseconds=delay) for delay in (200, 1000))


def try_tuning(installation: TritonInstallation, workload: Workload, tuning: Tuning) -> None:
    """Prints the figures of one setting."""
    with (
        tempfile.TemporaryDirectory() as folder,
        tritonserver(installation, workload.version, tuning, workload.takes_pixels) as server,
    ):
        samples = load_samples(workload, Path(folder))
        samples = replace(samples, expected=agreed_classes(samples, [server]))
        figures = []
        for callers in CALLERS:
            scenario = Scenario(server, "KServe", kserve_requests(samples), callers)
            measure(scenario, workload.seconds, 0)  # warm-up
            measured = [measure(scenario, workload.seconds, number) for number in range(RUNS)]
            figures.append(f"{callers} callers {_figures(measured)}")
    print(f"{workload.model}: {'; '.join(figures)}: {tuning}", flush=True)


def _figures(measured: Sequence[Measurement]) -> str:
    return (
        f"{median(each.rate for each in measured):.0f}/s, p99 {1e3 * median(each.p99 for each in measured):.1f} ms, "
        f"batch {median(each.batch_size for each in measured):.1f}"
    )


def main() -> None:
    """Tries all settings, for all models or for those that the command line names."""
    installation = TritonInstallation()
    for workload in WORKLOADS:
        if not sys.argv[1:] or workload.model in sys.argv[1:]:
            for tuning in dict.fromkeys(candidates(workload)):
                try_tuning(installation, workload, tuning)


if __name__ == "__main__":
    main()
