"""Speed and answers of models in bfloat16 against float32; a part of `make bench`.

Models are loaded as the server loads them and run like on its workers, one batch for each share of the cores at the
same time, on images that were decoded before: only the models are compared. All of this runs in a child process, as
its settings hold for a whole process.
"""

import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch

from linnaeus.models.manifest import InputSpec
from linnaeus.server.decoding.decode import decode
from linnaeus.server.model_store.loader import load_on_each
from linnaeus.server.model_store.model_folders import VersionFolder
from linnaeus.server.process.openmp import limit_spinning
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.runtime.device import CoreShare, configure_process, default_workers
from linnaeus.server.runtime.device_preferences import fast_precisions
from linnaeus.server.runtime.model import Model, Pixels
from linnaeus.server.runtime.model_loading import LoadOptions
from linnaeus.server.runtime.variants import FLOAT32, compare

CPU = torch.device("cpu")
PICTURES = Path("pictures")
MODELS = (
    Path("runs/bench/resnet18/1"),
    Path("runs/bench/densenet121/1"),
    Path("model-repository/efficientnet_lite0/1"),
)
OTHER = "bfloat16"
ROUNDS = 9
SECONDS = 1.5


def bench_precision() -> None:
    """Prints the figures of all models.

    Raises:
        RuntimeError: if the child process fails.
    """
    child = multiprocessing.get_context("spawn").Process(target=_bench)
    child.start()
    child.join()
    if child.exitcode:
        raise RuntimeError(f"the comparison of precisions failed with exit status {child.exitcode}")


def _bench() -> None:
    configure_process(0)
    print(f"\n{OTHER} against {FLOAT32}, pixels to answers, {ROUNDS} pairs in turns, medians:")
    if OTHER not in fast_precisions(CPU):
        print(f"  this processor has no instructions for {OTHER}, nothing was measured")
        return
    for folder in MODELS:
        bench_model(folder)


def bench_model(folder: Path) -> None:
    """Measures one model in both precisions and prints what precision `auto` selects."""
    models = {name: load(folder, name) for name in (FLOAT32, OTHER)}
    rates: dict[str, list[float]] = {name: [] for name in models}
    with workers() as threads:
        for number in range(-1, ROUNDS):
            for name in sorted(models, reverse=bool(number % 2)):
                rate = images_per_second(threads, models[name])
                if number >= 0:  # the round before allocates buffers
                    rates[name].append(rate)
    print_rates(folder.parent.name, models, rates)
    print_agreement(models, "photographs", sorted(PICTURES.glob("*.jpg")))
    print_agreement(models, "digits", sorted(PICTURES.glob("digits/*.png")))
    for model in models.values():
        model.close()
    print_automatic_choice(folder)


def load(folder: Path, precision: str) -> Model:
    """Loads a version, which determines its own best batch size."""
    version = VersionFolder(folder.parent.name, int(folder.name), folder)
    (model,) = load_on_each(version, {CPU: CoreShare(CPU, 0)}, 0, options=LoadOptions(precision=precision))
    return model


def workers() -> ThreadPoolExecutor:
    """Returns threads that run batches at the same time, each on its share of the cores."""
    count = default_workers(CPU)
    return ThreadPoolExecutor(count, initializer=CoreShare(CPU, 0).take, initargs=(count - 1,))


def images_per_second(threads: ThreadPoolExecutor, model: Model) -> float:
    """Returns the throughput of all threads on the photographs, in batches of the model's largest size."""
    pictures = decoded(sorted(PICTURES.glob("*.jpg")), model.manifest.input)
    batch = list(islice(cycle(pictures), model.max_batch_size))
    return sum(threads.map(partial(_run_batches, model), [batch] * default_workers(CPU)))


def _run_batches(model: Model, batch: Sequence[Pixels]) -> float:
    runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < SECONDS:
        model.run(batch, 5)
        runs += 1
    return runs * len(batch) / elapsed


def decoded(paths: Sequence[Path], spec: InputSpec) -> list[Pixels]:
    """Returns images as the model takes them."""
    return [decode(EncodedImage(path.read_bytes()), spec, 10**8) for path in paths]


def print_rates(name: str, models: dict[str, Model], rates: dict[str, list[float]]) -> None:
    """Prints the speed of both precisions and the ratio of each pair."""
    figures = ", ".join(
        f"{each} {median(rates[each]):.0f} images/s (batch {model.max_batch_size})" for each, model in models.items()
    )
    ratios = [other / plain for other, plain in zip(rates[OTHER], rates[FLOAT32], strict=True)]
    print(f"  {name}: {figures}")
    print(f"    {OTHER} : {FLOAT32} = {median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f} (at least 1.5)")


def print_agreement(models: dict[str, Model], kind: str, paths: Sequence[Path]) -> None:
    """Compares the answers of both precisions to some images."""
    pictures = decoded(paths, models[FLOAT32].manifest.input)
    plain, other = ([model.probabilities([picture])[0] for picture in pictures] for model in models.values())
    print(f"    {kind}: {compare(other, plain)}")


def print_automatic_choice(folder: Path) -> None:
    """Prints what precision `auto` selects, why, and how long such a load takes."""
    started = time.perf_counter()
    model = load(folder, "auto")
    seconds = time.perf_counter() - started
    print(f"    loaded in {seconds:.1f} s: {model.specialisation.precision_reason}", flush=True)
    model.close()


if __name__ == "__main__":
    limit_spinning()
    bench_precision()
