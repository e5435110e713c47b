"""`make bench`: what decoding and serving cost, how batching pays, and what a server takes to run.

Everything is measured in one run, the compared things in turns, and told as the median of all rounds. The load comes
from this project's own tester, whose processes share the cores with the server.
"""

import io
import tempfile
import time
import urllib.request
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from PIL import Image

from benchmarks.common.load_tester import processor_seconds_per_call, under_load
from benchmarks.decoding.jpeg_decoders import bench_decode
from benchmarks.inference.in_process import VARIANTS, InProcess, Variant
from benchmarks.inference.precision import bench_precision
from benchmarks.serving.cpu_overhead import bench_overhead
from linnaeus.client.load.results import Spell
from linnaeus.server.process.openmp import limit_spinning
from linnaeus.server.rpc.child_server import ServerProcess

REPOSITORY = Path("model-repository")
# Its weights are random: it must not turn up among the models that `make serve` serves.
EXTRA_REPOSITORY = Path("runs/bench")
PICTURES = Path("pictures")
PHOTOGRAPH_SIZE = (500, 375)
ROUNDS = 9
SECONDS = 2.0
CALLERS = (1, 16, 64)
BATCHES = (1, 2, 4, 8, 16, 32)
GROWTH_CALLS = 20_000


def photographs(folder: Path) -> tuple[Path, ...]:
    """Writes the bundled photographs as JPEGs of one size."""
    made = []
    for path in sorted(PICTURES.glob("*.jpg")):
        file = io.BytesIO()
        with Image.open(path) as image:
            image.convert("RGB").resize(PHOTOGRAPH_SIZE).save(file, "JPEG", quality=90)
        made.append(folder / path.name)
        made[-1].write_bytes(file.getvalue())
    return tuple(made)


def digits() -> tuple[Path, ...]:
    """The bundled digits."""
    return tuple(sorted(PICTURES.glob("digits/*.png")))


def bench_start() -> None:
    """From start to SERVING, three times."""
    spells = []
    for _ in range(3):
        started = time.perf_counter()
        with ServerProcess("--repository", str(REPOSITORY)):
            spells.append(time.perf_counter() - started)
    print(f"start to SERVING with both models: {', '.join(f'{spell:.1f}' for spell in spells)} s (at most 15)")


class Limit:
    """What one process makes of a model without gRPC, in one variant."""

    def __init__(self, process: InProcess) -> None:
        self._process = process
        self.rates = {
            batch: median(process.images_per_second(batch, SECONDS / 2) for _ in range(3)) for batch in BATCHES
        }
        self.spells: dict[int, list[float]] = {callers: [] for callers in CALLERS}

    def best_batch(self, callers: int) -> int:
        """The fastest batch that so many callers could fill."""
        return max((batch for batch in BATCHES if batch <= callers), key=lambda batch: self.rates[batch])

    def measure(self, callers: int) -> None:
        """Adds a spell of what so many callers could get; one alone waits for its picture before it sends the next."""
        batch = self.best_batch(callers)
        self.spells[callers].append(self._process.images_per_second(batch, SECONDS, ahead=callers > 1))


def bench_model(name: str, repository: Path, server: ServerProcess, pictures: tuple[Path, ...], what: str) -> None:
    """One model, served to 1, 16 and 64 callers, against what one process makes of it."""
    contents = [path.read_bytes() for path in pictures]
    with ExitStack() as processes:
        limits = {
            variant: Limit(processes.enter_context(InProcess(repository / name / "1", contents, variant)))
            for variant in VARIANTS
        }
        served: dict[int, list[Spell]] = {callers: [] for callers in CALLERS}
        under_load(server, name, pictures, CALLERS[-1], SECONDS)
        for number in range(ROUNDS):
            for callers in CALLERS:
                for measure in rotated(turns(server, name, pictures, limits, served, callers), number):
                    measure()
    tell_model(name, what, limits, served)


def turns(
    server: ServerProcess,
    name: str,
    pictures: tuple[Path, ...],
    limits: dict[Variant, Limit],
    served: dict[int, list[Spell]],
    callers: int,
) -> list[Callable[[], object]]:
    """What is measured in one round for so many callers."""

    def serve() -> None:
        served[callers].append(under_load(server, name, pictures, callers, SECONDS))

    fair = [limit for variant, limit in limits.items() if variant.streams <= callers]
    return [serve, *(partial(limit.measure, callers) for limit in fair)]


def rotated(turns: list[Callable[[], object]], number: int) -> list[Callable[[], object]]:
    """Another one begins each round."""
    start = number % len(turns)
    return turns[start:] + turns[:start]


def tell_model(name: str, what: str, limits: dict[Variant, Limit], served: dict[int, list[Spell]]) -> None:
    """Prints a model's figures."""
    print(f"\n{name}, {what}, decode included, {ROUNDS} rounds in turns, medians:")
    for variant, limit in limits.items():
        told = ", ".join(f"{batch}: {rate:.0f}" for batch, rate in limit.rates.items())
        print(f"  in-process, {variant.name}, images/s by batch size: {told}")
    for callers, spells in served.items():
        print(f"  {callers} caller{'s' * (callers > 1)}: {told_of(spells)}")
        for variant, limit in limits.items():
            if not (raw := limit.spells[callers]):
                continue
            ratios = [spell.goodput / rate for spell, rate in zip(spells, raw, strict=True)]
            print(
                f"    served : in-process {variant.name} (batch {limit.best_batch(callers)}, {median(raw):.0f}/s)"
                f" = {median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}"
            )
    one, many = served[CALLERS[0]], served[CALLERS[-1]]
    tell_latency(one, limits)
    gain = median(b.goodput / a.goodput for a, b in zip(one, many, strict=True))
    cheaper = median(
        processor_seconds_per_call(a) / processor_seconds_per_call(b) for a, b in zip(one, many, strict=True)
    )
    print(f"  {CALLERS[-1]} callers : 1 caller, throughput = {gain:.2f}, for the same processor time = {cheaper:.2f}")


def tell_latency(one: list[Spell], limits: dict[Variant, Limit]) -> None:
    """How much longer one caller waits than the picture takes in-process, decoding and the model on all cores."""
    variant = next(each for each in limits if each.specialised and each.streams == 1)
    alone = limits[variant].spells[CALLERS[0]]
    longer = [1e3 * (spell.latency.p50 - 1.0 / rate) for spell, rate in zip(one, alone, strict=True)]
    print(
        f"  1 caller, p50 less decode and model in-process ({1e3 / median(alone):.1f} ms) = {median(longer):.2f} ms, "
        f"from {min(longer):.2f} to {max(longer):.2f} (at most 1.5)"
    )


def told_of(spells: list[Spell]) -> str:
    """One line on the served spells for so many callers."""
    return (
        f"{median(spell.goodput for spell in spells):.0f} images/s, "
        f"p50 {1e3 * median(spell.latency.p50 for spell in spells):.1f} ms, "
        f"p99 {1e3 * median(spell.latency.p99 for spell in spells):.1f} ms, "
        f"mean batch {median(spell.server.mean_batch_size or 0.0 for spell in spells if spell.server):.1f}, "
        f"server's processor {1e6 * median(map(processor_seconds_per_call, spells)):.0f} µs a call, "
        f"tester busy {100 * median(spell.tester.busy for spell in spells):.0f} %"
    )


def bench_memory(server: ServerProcess, photos: tuple[Path, ...]) -> None:
    """Resident memory, and its growth over many calls of both models; one that fails ends the bench."""
    before, sent = resident_bytes(server), 0
    while sent < GROWTH_CALLS:
        for name, pictures in (("efficientnet_lite0", photos), ("lenet", digits())):
            sent += under_load(server, name, pictures, CALLERS[-1], SECONDS).counts.sent
    after = resident_bytes(server)
    print(f"\nresident memory: {before / 1e6:.0f} MB, after {sent} more calls {after / 1e6:.0f} MB (at most 1000)")
    print(f"  growth {(after - before) / 1e6:+.1f} MB (none), failed calls 0")


def resident_bytes(server: ServerProcess) -> float:
    """Reads it from the server's metrics."""
    with urllib.request.urlopen(server.metrics_url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("process_resident_memory_bytes ")))


def main() -> None:
    """Runs all parts."""
    limit_spinning()  # as the server does for itself: the limit is measured under the same conditions
    bench_decode()
    bench_start()
    size = f"JPEG {PHOTOGRAPH_SIZE[0]}x{PHOTOGRAPH_SIZE[1]}"
    with tempfile.TemporaryDirectory() as folder:
        photos = photographs(Path(folder))
        with ServerProcess("--repository", str(REPOSITORY)) as server:
            bench_overhead(server, REPOSITORY)
            bench_model("lenet", REPOSITORY, server, digits(), "PNG digits")
            bench_model("efficientnet_lite0", REPOSITORY, server, photos, size)
            bench_memory(server, photos)
        with ServerProcess("--repository", str(EXTRA_REPOSITORY)) as server:
            bench_model("resnet18", EXTRA_REPOSITORY, server, photos, size)
    bench_precision()


if __name__ == "__main__":
    main()
