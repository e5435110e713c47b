"""`make bench`: what serving costs over the model itself, how batching pays, and what a server takes to run.

Everything is measured in one run, the compared things in turns, and told as the median of all rounds.
"""

import io
import os
import random
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from closed_loop import Load, run_callers
from in_process import InProcess, Variant
from PIL import Image

from linnaeus.server.openmp import limit_spinning
from linnaeus.server.process import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1

REPOSITORY = Path("model-repository")
PICTURES = Path("pictures")
PHOTOGRAPH_SIZE = (500, 375)
ROUNDS = 9
SECONDS = 2.0
BATCHES = (1, 2, 4, 8, 16, 32)
GROWTH_CALLS = 20_000
# The first is what anybody gets from the artifact with torch alone; the others are limits for what the server adds.
VARIANTS = (
    Variant("as torch runs it", specialised=False, in_background=False, streams=1),
    Variant("fused, decoders give way", specialised=True, in_background=True, streams=1),
    Variant("fused, decoders give way, two streams", specialised=True, in_background=True, streams=2),
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a scrape tells: seconds of processor time, bytes resident, batches and the images in them."""

    processor_seconds: float
    resident_bytes: float
    batches: float
    images: float

    def mean_batch_since(self, earlier: "Snapshot") -> float:
        """Images a batch between two scrapes."""
        return (self.images - earlier.images) / max(self.batches - earlier.batches, 1)


def scrape(server: ServerProcess) -> Snapshot:
    """Reads the server's metrics."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]

    def total(name: str) -> float:
        return sum(float(value) for key, value in lines if key.split("{")[0] == name)

    return Snapshot(
        total("process_cpu_seconds_total"),
        total("process_resident_memory_bytes"),
        total("linnaeus_batch_size_count"),
        total("linnaeus_batch_size_sum"),
    )


@dataclass(frozen=True, slots=True)
class Served:
    """One spell of load on the server: what the callers saw, its processor time for one call, its mean batch."""

    load: Load
    processor_seconds_per_call: float
    mean_batch: float


def under_load(server: ServerProcess, requests: list[Path], callers: int) -> Served:
    """Loads the server for a spell."""
    before = scrape(server)
    load = run_callers(server.target, requests, callers, seconds=SECONDS)
    after = scrape(server)
    if load.failures:
        raise RuntimeError(f"{load.failures} calls failed")
    spent = (after.processor_seconds - before.processor_seconds) / load.answers
    return Served(load, spent, after.mean_batch_since(before))


def photographs() -> list[bytes]:
    """The bundled photographs as JPEGs of one size."""
    made = []
    for path in sorted(PICTURES.glob("*.jpg")):
        file = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(PHOTOGRAPH_SIZE).save(file, "JPEG", quality=90)
        made.append(file.getvalue())
    return made


def digits() -> list[bytes]:
    """The bundled digits."""
    return [path.read_bytes() for path in sorted(PICTURES.glob("digits/*.png"))]


def write_requests(folder: Path, model: str, pictures: list[bytes]) -> list[Path]:
    """Serialises one request a picture."""
    paths = []
    for number, picture in enumerate(pictures):
        path = folder / f"{model}-{number}"
        path.write_bytes(v1.ClassifyRequest(image=v1.Image(encoded=picture), model=model).SerializeToString())
        paths.append(path)
    return paths


def bench_start() -> None:
    """From start to SERVING, three times."""
    spells = []
    for _ in range(3):
        started = time.perf_counter()
        with ServerProcess("--repository", str(REPOSITORY)):
            spells.append(time.perf_counter() - started)
    print(f"start to SERVING with both models: {', '.join(f'{spell:.1f}' for spell in spells)} s (at most 15)")


def bench_batching(server: ServerProcess, requests: list[Path]) -> None:
    """Lenet: one caller against 64."""
    one, many = [], []
    for _ in range(ROUNDS):
        one.append(under_load(server, requests, 1))
        many.append(under_load(server, requests, 64))
    print(f"\nlenet, PNG digits, {ROUNDS} rounds in turns, medians:")
    for name, spells in (("1 caller", one), ("64 callers", many)):
        print(
            f"  {name:10} {median(spell.load.per_second for spell in spells):6.0f} images/s   "
            f"p50 {1e3 * median(spell.load.median_seconds for spell in spells):5.1f} ms   "
            f"mean batch {median(spell.mean_batch for spell in spells):4.1f}   "
            f"server processor time {1e6 * median(spell.processor_seconds_per_call for spell in spells):4.0f} µs a call"
        )
    pairs = list(zip(one, many, strict=True))
    gain = median(b.load.per_second / a.load.per_second for a, b in pairs)
    cheaper = median(a.processor_seconds_per_call / b.processor_seconds_per_call for a, b in pairs)
    print(f"  throughput, 64 callers : 1 caller = {gain:.2f} (at least 2)")
    print(f"  calls for one second of the server's processor, 64 callers : 1 caller = {cheaper:.2f}")


def bench_limit(server: ServerProcess, requests: list[Path], pictures: list[bytes]) -> None:
    """EfficientNet-Lite0: served at 64 callers against the best batch size in-process."""
    folder = REPOSITORY / "efficientnet_lite0" / "1"
    print(f"\nefficientnet_lite0, JPEG {PHOTOGRAPH_SIZE[0]}x{PHOTOGRAPH_SIZE[1]}, decode included, images/s:")
    with ExitStack() as processes:
        limits = {
            variant.name: Limit(processes.enter_context(InProcess(folder, pictures, variant))) for variant in VARIANTS
        }
        for name, limit in limits.items():
            limit.find_best_batch()
            told = ", ".join(f"{batch}: {rate:.0f}" for batch, rate in limit.rates.items())
            print(f"  in-process, {name}, by batch size: {told}")
        served: list[Served] = []
        for number in range(ROUNDS):
            turns: list[Callable[[], object]] = [limit.measure for limit in limits.values()]
            turns.append(lambda: served.append(under_load(server, requests, 64)))
            for turn in range(len(turns)):  # another one begins each round
                turns[(number + turn) % len(turns)]()
    answers = median(spell.load.per_second for spell in served)
    print(f"  served, 64 callers: {answers:.0f}, mean batch {median(spell.mean_batch for spell in served):.1f}")
    for name, limit in limits.items():
        pairs = list(zip(limit.spells, served, strict=True))
        print(f"  in-process, {name}, batch {limit.best}: {median(limit.spells):.0f}")
        tell_ratios("    served : that", [spell.load.per_second / raw for raw, spell in pairs])
        tell_ratios("    on the cores that the callers leave", [fair_share(raw, spell) for raw, spell in pairs])


class Limit:
    """What one process makes of the model without gRPC: its best batch size, and its spells at that size."""

    def __init__(self, process: InProcess) -> None:
        self._process = process
        self.rates: dict[int, float] = {}
        self.best = 1
        self.spells: list[float] = []

    def find_best_batch(self) -> None:
        """Tries all batch sizes."""
        self.rates = {
            batch: median(self._process.images_per_second(batch, SECONDS) for _ in range(3)) for batch in BATCHES
        }
        self.best = max(self.rates, key=lambda batch: self.rates[batch])

    def measure(self) -> None:
        """Adds one spell at the best batch size, in images a second."""
        self.spells.append(self._process.images_per_second(self.best, SECONDS))


def fair_share(raw: float, served: Served) -> float:
    """The served throughput against that part of the limit which the callers' own processor time leaves."""
    cores = len(os.sched_getaffinity(0))
    left = 1 - served.load.processor_seconds / served.load.seconds / cores
    return served.load.per_second / (raw * left)


def tell_ratios(name: str, ratios: list[float]) -> None:
    """Prints the median and the extremes."""
    low, high = min(ratios), max(ratios)
    print(f"  {name} = {median(ratios):.3f}, from {low:.3f} to {high:.3f} in {len(ratios)} rounds (at least 0.90)")


def bench_memory(server: ServerProcess, requests: list[Path]) -> None:
    """Resident memory, and its growth over many calls."""
    warm = random.Random(1).choices(requests, k=64)
    run_callers(server.target, warm, 64, calls=2_000)
    before = scrape(server).resident_bytes
    load = run_callers(server.target, requests, 64, calls=GROWTH_CALLS)
    after = scrape(server).resident_bytes
    print(
        f"\nresident memory: {before / 1e6:.0f} MB, after {load.answers} more calls {after / 1e6:.0f} MB (at most 1000)"
    )
    print(f"  growth {(after - before) / 1e6:+.1f} MB (none), failed calls {load.failures}")


def main() -> None:
    """Runs all parts against one server."""
    limit_spinning()  # as the server does for itself: the limit is measured under the same conditions
    bench_start()
    with tempfile.TemporaryDirectory() as folder, ServerProcess("--repository", str(REPOSITORY)) as server:
        photos = photographs()
        lenet = write_requests(Path(folder), "lenet", digits())
        efficientnet = write_requests(Path(folder), "efficientnet_lite0", photos)
        bench_batching(server, lenet)
        bench_limit(server, efficientnet, photos)
        # one photograph to nineteen digits
        bench_memory(server, [*efficientnet[:1], *(lenet * 4)[:19]])


if __name__ == "__main__":
    main()
