"""Models on a GPU: how torch can run them, and how close `Model.run` comes to the fastest of that.

    python -m benchmarks.inference.gpu --repository runs/bench resnet18 resnet50

For each model it prints three tables:
- images a second of the bare module by precision, autotuning and memory layout, with the largest difference from the
  processor's probabilities;
- the time of a batch size that a thread has not run before;
- `Model.run` from memory to answers on one or several threads, beside the bare module on pixels that are already on the
  device.

Rounds are interleaved; printed figures are medians. Nothing is decoded or sent. `--device cpu` only shows that the
program runs.
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
from linnaeus.server.runtime.artifact_checks import Artifact, read_artifact
from linnaeus.server.runtime.device import configure_process, without_profiling
from linnaeus.server.runtime.model import Model, Pixels
from linnaeus.server.runtime.model_loading import LoadOptions, load_model
from linnaeus.server.runtime.out_of_memory import error_summary
from linnaeus.server.runtime.torch_module import fitted

CPU = torch.device("cpu")
SIZES = (1, 8, 32, 128)
UNSEEN = 37
THREADS = (1, 2, 3)
ROUNDS = 9
MEASURED_SECONDS = 0.3
TOP_K = 5

Run = Callable[[], object]


class Bare:
    """The module alone, in one memory layout; cuDNN runs as the process has set it."""

    def __init__(self, artifact: Artifact, device: torch.device, layout: torch.memory_format) -> None:
        module: torch.jit.ScriptModule = torch.jit.load(  # type: ignore[no-untyped-call]
            str(artifact.folder / MODEL_FILE), map_location=device
        )
        self._module = fitted(module.eval(), device, "float32", layout)
        self._layout = layout
        self._device = device

    def __call__(self, pixels: Tensor) -> Tensor:
        """Returns the probabilities of uint8 [N, H, W, C] on the device."""
        images = pixels.permute(0, 3, 1, 2).contiguous(memory_format=self._layout)
        with torch.inference_mode(), without_profiling():
            probabilities: Tensor = self._module(images)
        return probabilities

    def rate(self, pixels: Tensor) -> float:
        """Returns images a second after a warm-up."""
        for _ in range(3):
            self(pixels)
        finish(self._device)
        return per_second(lambda: self(pixels), len(pixels), lambda: finish(self._device))


def finish(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def per_second(run: Run, images: int, after: Run) -> float:
    """Returns images a second of consecutive runs; `after` waits for the last ones."""
    runs, started = 0, time.perf_counter()
    while time.perf_counter() - started < MEASURED_SECONDS:
        run()
        runs += 1
    after()
    return images * runs / (time.perf_counter() - started)


def noise(artifact: Artifact, count: int) -> Pixels:
    """Returns random images, uint8 [N, H, W, C]."""
    spec = artifact.manifest.input
    return numpy.random.default_rng(0).integers(0, 256, (count, spec.height, spec.width, spec.channels), numpy.uint8)


@contextmanager
def convolutions(precision: str, autotuned: bool) -> Iterator[None]:
    """Sets cuDNN's precision and autotuning, and restores the server's settings at the end."""
    cudnn = torch.backends.cudnn
    cudnn.benchmark, cudnn.conv.fp32_precision = autotuned, precision  # type: ignore[attr-defined]
    yield
    configure_process(0)


def print_bare_speed(artifact: Artifact, device: torch.device) -> None:
    """Prints the bare module's speed and its difference from the processor, for each combination of settings."""
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


def print_first_runs(artifact: Artifact, device: torch.device) -> None:
    """Prints the time of the first and second run of a batch size in a new thread, and in another new thread."""
    bare = Bare(artifact, device, torch.channels_last)
    pixels = torch.from_numpy(noise(artifact, UNSEEN)).to(device)

    def milliseconds() -> float:
        started = time.perf_counter()
        bare(pixels)
        finish(device)
        return 1e3 * (time.perf_counter() - started)

    for autotuned in (False, True):
        with convolutions("ieee", autotuned):
            by_thread = []
            for _ in range(2):
                with ThreadPoolExecutor(1) as thread:
                    by_thread += [thread.submit(milliseconds).result() for _ in range(2)]
        called = "autotuned" if autotuned else "by rule"
        print(f"  {called:32}", *(f"{each:9.1f}" for each in by_thread), "  ms", flush=True)


def by_threads(model: Model, images: list[Pixels], count: int) -> float:
    """Returns images a second of `Model.run` on `count` threads."""

    def serve(_: int) -> float:
        return per_second(lambda: model.run(images, TOP_K), len(images), lambda: None)

    with ThreadPoolExecutor(count) as threads:
        return sum(threads.map(serve, range(count)))


def print_model_run(folder: Path, artifact: Artifact, device: torch.device, size: int) -> None:
    """Prints `Model.run` against the bare module at one batch size, without and with CUDA graphs, by thread count."""
    images = noise(artifact, size)
    pixels, bare = torch.from_numpy(images).to(device), Bare(artifact, device, torch.channels_last)
    turns: dict[str, Callable[[], float]] = {"bare module": lambda: bare.rate(pixels)}
    for graphs in (False, True) if device.type == "cuda" else (False,):
        model = load_model(folder, device, size, options=LoadOptions(cuda_graphs=graphs))
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
    """Prints the tables of all models."""
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
        print_bare_speed(artifact, device)
        print(f"{name}: a batch of {UNSEEN}, never run before: first and second run of a thread, and of another")
        print_first_runs(artifact, device)
        for size in SIZES:
            print(f"{name}: pixels to answers in batches of {size}, images a second")
            try:
                print_model_run(folder, artifact, device, size)
            except RuntimeError as error:
                print(f"  failed: {error_summary(error)}")


if __name__ == "__main__":
    main()
