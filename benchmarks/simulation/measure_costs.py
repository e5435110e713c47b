"""Measures on this machine what a simulated replica needs: batches by size, decoding, and C to compare with.

    .venv/bin/python -m benchmarks.simulation.measure_costs MODEL [--repository model-repository] [--rounds 3]

Run it from the repository's root, on a machine that does nothing else. Batches are timed by the server's own warm-up,
which keeps the shortest of seven runs; decoding by the server's decoder on one core. What a call costs beyond them is
what the server's processes spend on an image less both, under 64 callers in a closed loop. It prints what belongs into
costs.toml.
"""

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.common.images import digits, photographs
from benchmarks.common.load_tester import measure_closed_loop
from benchmarks.common.process_usage import processor_seconds
from benchmarks.common.report import milliseconds
from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import load_model

CALLERS, SECONDS, WARM_UP_SECONDS = 64, 4.0, 2.0
DECODINGS = 60
MOST_BYTES = 10**8


def main() -> None:
    """Prints the figures of a model."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulation.measure_costs")
    parser.add_argument("model", metavar="MODEL", help="one of the repository; its version 1 is measured")
    parser.add_argument("--repository", type=Path, default=Path("model-repository"), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of the closed loop, 0 for none; default: %(default)s")
    options = parser.parse_args()
    configure_process(0)
    with tempfile.TemporaryDirectory() as folder:
        measure_model(options.model, options.repository, Path(folder))
        if options.rounds:
            measure_server(options.model, options.repository, Path(folder), options.rounds)


def measure_model(name: str, repository: Path, folder: Path) -> None:
    """Prints what batches and decoding take in this process."""
    model = load_model(repository / name / "1", torch.device("cpu"), 0)
    size = model.max_batch_size
    batches = ", ".join(f"{each.size} = {each.seconds:.6f}" for each in model.timings)
    print(f"\n{name}: {model.specialisation.runtime}, {model.specialisation.precision}")
    print(f"  batch_seconds = {{ {batches} }}")
    print(f"  decode_seconds = {_decode_seconds(model.manifest.input, _images(name, folder)):.6f}")
    print(f"  processor seconds of an image in a batch of {size}: {_processor_seconds(model, size):.6f}")
    model.close()


def measure_server(name: str, repository: Path, folder: Path, rounds: int) -> None:
    """Prints what 64 callers get, and what a server spends on an image."""
    images = _images(name, folder)
    with ServerProcess("--repository", str(repository), "--models", name) as server:
        measure_closed_loop(server, name, images, CALLERS, WARM_UP_SECONDS)
        for _ in range(rounds):
            before = processor_seconds(server.child.pid)
            measured = measure_closed_loop(server, name, images, CALLERS, SECONDS)
            spent = processor_seconds(server.child.pid) - before
            batch = measured.server.mean_batch_size if measured.server else None
            print(
                f"  {CALLERS} callers: {measured.goodput:.1f} images/s, p99 {milliseconds(measured.latency.p99)}, "
                f"batches of {batch}, processor seconds of the server an image {spent / measured.counts.sent:.6f}"
            )


def _images(name: str, folder: Path) -> tuple[Path, ...]:
    return digits() if name == "lenet" else photographs(folder)


def _decode_seconds(spec: InputSpec, images: tuple[Path, ...]) -> float:
    encoded = [EncodedImage(path.read_bytes()) for path in images]
    seconds = []
    for number in range(DECODINGS):
        started = time.thread_time()
        decode(encoded[number % len(encoded)], spec, MOST_BYTES)
        seconds.append(time.thread_time() - started)
    return median(seconds)


def _processor_seconds(model: Model, size: int) -> float:
    started = time.process_time()
    for _ in range(5):
        model.run_blank(size)
    return (time.process_time() - started) / 5 / size


if __name__ == "__main__":
    main()
