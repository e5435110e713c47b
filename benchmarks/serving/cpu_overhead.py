"""Processor time that serving costs for one image of `lenet` beyond decoding it and running the model.

It is the server's processor time during a measurement, less what decoding and the model take in a process that does
nothing else, at the measured mean batch size. A part of `make bench`.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.common.images import digits
from benchmarks.common.load_tester import processor_seconds_per_image
from benchmarks.common.rounds import rotated
from benchmarks.serving.batch_and_stream import BATCH, MODEL, PATTERNS, STREAM, UNARY, CallPattern, measure
from linnaeus.client.load.results import Measurement
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.model_loading import load_model

ROUNDS = 9
_SIZES = (1, 2, 4, 8, 16, 32)
_PATTERNS = {"64 calls at once, one image each": CallPattern("unary", 64)} | {
    name: PATTERNS[name] for name in (UNARY, BATCH, STREAM)
}


@dataclass(frozen=True, slots=True)
class ModelCost:
    """Processor seconds an image that do not depend on serving.

    Attributes:
        decode: for decoding.
        model: for running the model on one thread, by growing batch size.
    """

    decode: float
    model: dict[int, float]

    def at(self, batch: float) -> float:
        """Returns the sum of both at a mean batch size, by linear interpolation between the measured sizes."""
        below = max((size for size in self.model if size <= batch), default=min(self.model))
        above = min((size for size in self.model if size >= batch), default=max(self.model))
        share = (batch - below) / (above - below) if above > below else 0.0
        return self.decode + self.model[below] + share * (self.model[above] - self.model[below])


def bench_overhead(server: ServerProcess, repository: Path) -> None:
    """Prints the overhead of each call pattern: median and range of all rounds."""
    cost = _model_cost(repository / MODEL / "1")
    measured: dict[str, list[Measurement]] = {name: [] for name in _PATTERNS}
    for number in range(ROUNDS):
        for name in rotated(list(_PATTERNS), number):
            measured[name].append(measure(server, _PATTERNS[name]))
    _print_overhead(cost, measured)


def _print_overhead(cost: ModelCost, measured: Mapping[str, Sequence[Measurement]]) -> None:
    by_size = ", ".join(f"{size}: {1e6 * seconds:.0f}" for size, seconds in cost.model.items())
    print(f"\n{MODEL}, PNG digits: serving beyond decoding ({1e6 * cost.decode:.0f} µs) and the model (µs an image by")
    print(f"batch size, one thread: {by_size}), processor time of the server, {ROUNDS} rounds in turns, medians:")
    for name, rounds in measured.items():
        over = [1e6 * (processor_seconds_per_image(each) - cost.at(_batch(each))) for each in rounds]
        whole = 1e6 * median(map(processor_seconds_per_image, rounds))
        print(
            f"  {name:34} {median(over):5.0f} µs an image, from {min(over):.0f} to {max(over):.0f} (of {whole:.0f}; "
            f"mean batch {median(map(_batch, rounds)):.1f})"
        )


def _batch(measured: Measurement) -> float:
    return (measured.server and measured.server.mean_batch_size) or 1.0


def _model_cost(folder: Path) -> ModelCost:
    torch.set_num_threads(1)
    model = load_model(folder, torch.device("cpu"), _SIZES[-1])
    spec, contents = model.manifest.input, [path.read_bytes() for path in digits()]
    images = [decode(EncodedImage(content), spec, 10**6) for content in contents]
    by_size = {size: _run_seconds(model, (images * size)[:size]) / size for size in _SIZES}
    decoding = _processor_seconds(lambda: [decode(EncodedImage(each), spec, 10**6) for each in contents])
    return ModelCost(decoding / len(contents), by_size)


def _run_seconds(model: Model, images: Sequence[object]) -> float:
    return _processor_seconds(lambda: model.run(images, 5))  # type: ignore[arg-type]


def _processor_seconds(work: Callable[[], object]) -> float:
    """Returns the processor time of one call of `work`: the least of several means, as disturbances only add to it."""
    means = []
    for _ in range(7):
        started = time.thread_time()
        for _ in range(100):
            work()
        means.append((time.thread_time() - started) / 100)
    return min(means)


def main() -> None:
    """Measures a server of its own."""
    repository = Path("model-repository")
    with ServerProcess("--repository", str(repository), "--models", MODEL) as server:
        bench_overhead(server, repository)


if __name__ == "__main__":
    main()
