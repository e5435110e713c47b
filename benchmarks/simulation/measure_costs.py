"""Measures on this machine what a simulated replica needs: batches by size, decoding, and C to compare with.

    .venv/bin/python -m benchmarks.simulation.measure_costs [MODEL ...] [--rounds 3]

Run it from the repository's root with lenet and efficientnet_lite0 exported, and resnet18 in runs/bench. Batches are
timed by the server's own warm-up, which keeps the shortest of seven runs; decoding by the server's decoder on one core.
What a call costs beyond them is what the server's processes spend on an image less both, under 64 callers in a closed
loop. What it prints belongs into costs.toml.
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
from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.runtime.device import configure_process
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import load_model

MODELS = {
    "lenet": Path("model-repository"),
    "efficientnet_lite0": Path("model-repository"),
    "resnet18": Path("runs/bench"),
}
CALLERS, SECONDS, WARM_UP_SECONDS = 64, 4.0, 2.0
DECODINGS = 60
MOST_BYTES = 10**8


def main() -> None:
    """Prints the figures of each model."""
    parser = argparse.ArgumentParser(prog="benchmarks.simulation.measure_costs")
    parser.add_argument("models", nargs="*", metavar="MODEL", help=f"{', '.join(MODELS)}; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="of the closed loop; default: %(default)s")
    options = parser.parse_args()
    if unknown := [each for each in options.models if each not in MODELS]:
        parser.error(f"there is no model {unknown[0]}; there are: {', '.join(MODELS)}")
    configure_process(0)
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models or MODELS:
            images = digits() if name == "lenet" else photographs(Path(folder))
            _measure(name, MODELS[name], images, options.rounds)


def _measure(name: str, repository: Path, images: tuple[Path, ...], rounds: int) -> None:
    model = load_model(repository / name / "1", torch.device("cpu"), 0)
    alone = {each.size: each.seconds for each in model.timings}
    decoding = _decode_seconds(model.manifest.input, images)
    print(f"\n{name}: {model.specialisation}")
    print("  batch_seconds = {", ", ".join(f"{size} = {seconds:.6f}" for size, seconds in alone.items()), "}")
    print(f"  decode_seconds = {decoding:.6f}")
    size = max(alone)
    print(f"  processor seconds of an image in a batch of {size}: {_processor_seconds(model, size):.6f}")
    model.close()
    with ServerProcess("--repository", str(repository), "--models", name) as server:
        measure_closed_loop(server, name, images, CALLERS, WARM_UP_SECONDS)
        for _ in range(rounds):
            before, started = processor_seconds(server.child.pid), time.process_time()
            measured = measure_closed_loop(server, name, images, CALLERS, SECONDS)
            spent = processor_seconds(server.child.pid) - before
            batch = measured.server.mean_batch_size if measured.server else None
            print(
                f"  64 callers: {measured.goodput:.1f} images/s, p99 {measured.latency.p99}, batch {batch}, "
                f"server's processor seconds an image {spent / measured.counts.sent:.6f}, "
                f"of this process {(time.process_time() - started) / measured.counts.sent:.6f}"
            )


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
