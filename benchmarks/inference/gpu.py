"""What a GPU makes of models: the ways torch can run them, and how near serving comes to the fastest of these.

    python -m benchmarks.inference.gpu --repository runs/bench resnet18 resnet50

prints three tables for each model: images a second of the bare module by precision, autotuning and memory layout, with
the largest difference from the processor's probabilities; what a batch size costs that a thread has never run; and
`Model.run` from memory to answers, by so many threads, beside the bare module on pixels that are on the device already.
All rounds are interleaved, and told as their median. Nothing here decodes or speaks gRPC. `--device cpu` only shows
that the program runs.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import numpy
import torch
from torch import Tensor

from linnaeus.models.manifest import MODEL_FILE
from linnaeus.server.runtime.artifact import Artifact, read_artifact
from linnaeus.server.runtime.device import configure_process, without_profiling
from linnaeus.server.runtime.fused_convolutions import unbind_convolutions
from linnaeus.server.runtime.model import Model, Pixels, load_model
from linnaeus.server.runtime.out_of_memory import told

CPU = torch.device("cpu")
SIZES = (1, 8, 32, 128)
UNSEEN = 37
THREADS = (1, 2, 3)
ROUNDS = 9
SPELL_SECONDS = 0.3
TOP_K = 5

Run = Callable[[], object]


class Bare:
    """The module alone, with the process's settings of cuDNN and one memory layout."""

    def __init__(self, artifact: Artifact, device: torch.device, layout: torch.memory_format) -> None:
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(artifact.folder / MODEL_FILE), map_location=device
        )
        self._module = unbind_convolutions(torch.jit.freeze(module.eval().to(memory_format=layout)))
        self._layout = layout
        self._device = device

    def __call__(self, pixels: Tensor) -> Tensor:
        """Probabilities of uint8 [N, H, W, C] on the device."""
        images = pixels.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)
        with torch.inference_mode(), without_profiling():
            probabilities: Tensor = self._module(images)
        return probabilities

    def rate(self, pixels: Tensor) -> float:
        """Images a second over a spell, once warm."""
        for _ in range(3):
            self(pixels)
        finish(self._device)
        return per_second(lambda: self(pixels), len(pixels), lambda: finish(self._device))


def finish(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def per_second(run: Run, images: int, after: Run) -> float:
    """Images a second of runs that follow one another for a spell; `after` ends the last ones."""
    runs, started = 0, time.perf_counter()
    while time.perf_counter() - started < SPELL_SECONDS:
        run()
        runs += 1
    after()
    return images * runs / (time.perf_counter() - started)


def noise(artifact: Artifact, count: int) -> Pixels:
    """Pictures, uint8 [N, H, W, C]."""
    spec = artifact.manifest.input
    return numpy.random.default_rng(0).integers(0, 256, (count, spec.height, spec.width, spec.channels), numpy.uint8)


@contextmanager
def convolutions(precision: str, autotuned: bool) -> Iterator[None]:
    """Sets what cuDNN does, and sets it back to what serving does."""
    cudnn = torch.backends.cudnn
    cudnn.benchmark, cudnn.conv.fp32_precision = autotuned, precision  # type: ignore[attr-defined]
    yield
    configure_process(0)


def tell_ways(artifact: Artifact, device: torch.device) -> None:
    """Bare speed and difference from the processor, for each way to run."""
    images = torch.from_numpy(noise(artifact, max(SIZES)))
    expected = Bare(artifact, CPU, torch.channels_last)(images[:8])
    layouts = {"channels last": torch.channels_last, "channels first": torch.contiguous_format}
    for precision, autotuned, (name, layout) in itertools.product(("ieee", "tf32"), (False, True), layouts.items()):
        with convolutions(precision, autotuned):
            bare = Bare(artifact, device, layout)
            rates = [bare.rate(images[:size].to(device)) for size in SIZES]
            difference = (bare(images[:8].to(device)).cpu() - expected).abs().max().item()
        called = f"{precision}, {'autotuned' if autotuned else 'by rule'}, {name}"
        print(f"  {called:32}", *(f"{rate:9.0f}" for rate in rates), f"  differs by {difference:.1e}", flush=True)


def tell_new_sizes(artifact: Artifact, device: torch.device) -> None:
    """What the first run of a batch size costs: in a new thread, again, and in yet another thread."""
    bare = Bare(artifact, device, torch.channels_last)
    pixels = torch.from_numpy(noise(artifact, UNSEEN)).to(device)

    def milliseconds() -> float:
        started = time.perf_counter()
        bare(pixels)
        finish(device)
        return 1e3 * (time.perf_counter() - started)

    for autotuned in (False, True):
        with convolutions("ieee", autotuned):
            told_by_thread = []
            for _ in range(2):
                with ThreadPoolExecutor(1) as thread:
                    told_by_thread += [thread.submit(milliseconds).result() for _ in range(2)]
        called = "autotuned" if autotuned else "by rule"
        print(f"  {called:32}", *(f"{each:9.1f}" for each in told_by_thread), "  ms", flush=True)


def by_threads(model: Model, images: list[Pixels], count: int) -> float:
    """Images a second of `Model.run` from so many threads."""

    def serve(_: int) -> float:
        return per_second(lambda: model.run(images, TOP_K), len(images), lambda: None)

    with ThreadPoolExecutor(count) as threads:
        return sum(threads.map(serve, range(count)))


def tell_serving(folder: Path, artifact: Artifact, device: torch.device, size: int) -> None:
    """`Model.run` against the bare module at one batch size, launched and recorded, by one thread and by several."""
    images = noise(artifact, size)
    pixels, bare = torch.from_numpy(images).to(device), Bare(artifact, device, torch.channels_last)
    turns: dict[str, Callable[[], float]] = {"bare module": lambda: bare.rate(pixels)}
    for graphs in (False, True) if device.type == "cuda" else (False,):
        model = load_model(folder, device, size, cuda_graphs=graphs)
        for count in THREADS:
            name = f"{'recorded' if graphs else 'launched'}, {count} in flight"
            turns[name] = lambda model=model, count=count: by_threads(model, list(images), count)  # type: ignore[misc]
    rates: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(ROUNDS):
        for name, turn in turns.items():
            rates[name].append(turn())
    limit = median(rates["bare module"])
    for name, found in rates.items():
        print(f"  {name:32} {median(found):9.0f}   {100 * median(found) / limit:5.1f} %", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+")
    parser.add_argument("--repository", type=Path, default=Path("model-repository"))
    parser.add_argument("--device", default="cuda:0")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print("gpu: there is no CUDA device here, nothing was measured")
        return
    configure_process(0)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "a processor, for a rehearsal"
    print(f"{what}, torch {torch.__version__}, cuDNN {torch.backends.cudnn.version()}")  # type: ignore[no-untyped-call]
    for name in arguments.models:
        folder = arguments.repository / name / "1"
        artifact = read_artifact(folder)
        print(f"\n{name}: the bare module, images a second at batches of {', '.join(map(str, SIZES))}")
        tell_ways(artifact, device)
        print(f"{name}: a batch of {UNSEEN}, never run before: first and second run of a thread, and of another")
        tell_new_sizes(artifact, device)
        for size in SIZES:
            print(f"{name}: pixels to answers in batches of {size}, images a second")
            try:
                tell_serving(folder, artifact, device, size)
            except RuntimeError as error:
                print(f"  failed: {told(error)}")


if __name__ == "__main__":
    main()
