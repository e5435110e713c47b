"""`make soak`: a quarter of an hour at 80 % of capacity, to see whether memory, threads or latency grow.

    .venv/bin/python -m benchmarks.stability.soak [--minutes 15] [--share 0.8] [--model efficientnet_lite0]

Run it from the repository's root with the model exported. Arrivals are Poisson, on loopback, from one process on the
same cores. A missed promise is printed; it does not change the exit status.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression

from benchmarks.common.images import photographs
from benchmarks.common.load_tester import measure_closed_loop
from benchmarks.common.process_footprint import ProcessFootprint
from benchmarks.common.report import Finding, at_least, at_most, informational, milliseconds, print_findings
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import NoProgress
from linnaeus.client.load.results import Measurement
from linnaeus.client.load.scenarios import run_single
from linnaeus.server.rpc.child_server import ServerProcess

CAPACITY_CALLERS, CAPACITY_SECONDS = 64, 10.0
MINUTE_SECONDS = 60.0
SETTLING_MINUTES = 2
SAMPLE_SECONDS = 2.0
DEADLINE_SECONDS = 5.0
MOST_SLOPE_MEGABYTES = 1.0
MOST_MORE = 0
MOST_P99_GROWTH = 1.2


class FootprintMonitor:
    """Reads a process's footprint every two seconds, on a thread of its own, until the `with` block ends."""

    def __init__(self, pid: int) -> None:
        self.samples: list[tuple[float, ProcessFootprint]] = []
        self._pid = pid
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="footprint")

    def __enter__(self) -> "FootprintMonitor":
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._ended.set()
        self._thread.join()

    def between(self, start: float, end: float) -> list[tuple[float, ProcessFootprint]]:
        """Returns the samples of a period, with their times in seconds of `time.monotonic`."""
        return [(moment, footprint) for moment, footprint in self.samples if start <= moment < end]

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self.samples.append((time.monotonic(), ProcessFootprint.of(self._pid)))


def main() -> None:
    """Runs the soak, then prints the findings."""
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        images = photographs(Path(folder))
        with ServerProcess("--repository", str(options.repository), "--models", options.model) as server:
            measure_closed_loop(server, options.model, images, CAPACITY_CALLERS, CAPACITY_SECONDS)  # warm-up
            capacity = measure_closed_loop(server, options.model, images, CAPACITY_CALLERS, CAPACITY_SECONDS).goodput
            rate = options.share * capacity
            print(f"capacity {capacity:.1f} images/s; {options.minutes} minutes at {rate:.1f} images/s", flush=True)
            with FootprintMonitor(server.child.pid) as monitor:
                started = time.monotonic()
                minutes = [_minute(server, options.model, images, rate, each) for each in range(options.minutes)]
            ended = time.monotonic()
    settled = monitor.between(started + SETTLING_MINUTES * MINUTE_SECONDS, ended)
    print_findings(f"Soak: {options.model}, JPEG 500x375, {rate:.1f} images/s", _findings(minutes, settled))


def _minute(server: ServerProcess, model: str, images: tuple[Path, ...], rate: float, number: int) -> Measurement:
    plan = Plan(
        target=server.target,
        pictures=images,
        model=model,
        rate=rate,
        duration_seconds=MINUTE_SECONDS,
        warmup_seconds=0.0,
        deadline_seconds=DEADLINE_SECONDS,
        processes=1,
        metrics_url="",
        seed=number + 1,
    )
    measurement = run_single(plan, NoProgress()).measurements[0]
    counts, latency = measurement.counts, measurement.latency
    print(
        f"  minute {number + 1:2}: {counts.ok} of {counts.sent} answered, p50 {milliseconds(latency.p50)}, "
        f"p99 {milliseconds(latency.p99)}; {ProcessFootprint.of(server.child.pid)}",
        flush=True,
    )
    return measurement


def _findings(minutes: Sequence[Measurement], settled: Sequence[tuple[float, ProcessFootprint]]) -> list[Finding]:
    first, last = settled[0][1], settled[-1][1]
    moments = [moment / MINUTE_SECONDS for moment, _ in settled]
    megabytes = [footprint.resident_bytes / 1e6 for _, footprint in settled]
    sent, ok = sum(each.counts.sent for each in minutes), sum(each.counts.ok for each in minutes)
    p99s = [each.latency.p99 for each in minutes]
    return [
        informational("answered of sent", f"{ok} of {sent}"),
        at_least("answered : sent", 1.0, ok / sent, digits=5),
        at_most(
            "memory's slope after two minutes, MB a minute",
            MOST_SLOPE_MEGABYTES,
            linear_regression(moments, megabytes).slope,
        ),
        at_most("threads more than after two minutes", MOST_MORE, max(last.threads - first.threads, 0), digits=0),
        at_most(
            "descriptors more than after two minutes",
            MOST_MORE,
            max(last.descriptors - first.descriptors, 0),
            digits=0,
        ),
        at_most("p99 of the last minute : of the second", MOST_P99_GROWTH, p99s[-1] / p99s[1]),
        informational("p99 by minute", ", ".join(milliseconds(each) for each in p99s)),
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=15, help="how long (default: %(default)s)")
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity (default: %(default)s)")
    parser.add_argument("--model", default="efficientnet_lite0", help="default: %(default)s")
    parser.add_argument("--repository", type=Path, default=Path("model-repository"), help="default: %(default)s")
    options = parser.parse_args()
    if options.minutes <= SETTLING_MINUTES:
        parser.error(f"--minutes is {options.minutes}, but must be more than {SETTLING_MINUTES}")
    if options.share <= 0:
        parser.error(f"--share is {options.share}, but must be above 0")
    return options


if __name__ == "__main__":
    main()
