"""What serving costs the server's processor for one image of `lenet`, beyond decoding it and running the model.

The server's processor time of a spell, less what decoding and the model take in a process that does nothing else, at
the batch sizes that the spell had. Part of `make bench`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.common.load_tester import processor_seconds_per_call
from benchmarks.serving.batch_and_stream import BATCH, MODEL, PICTURES, WAYS, Way, measure
from linnaeus.client.load.results import Spell
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import EncodedImage
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.runtime.model import Model, load_model

ROUNDS = 9
_SIZES = (1, 2, 4, 8, 16, 32)
_CALLED = {"64 calls at once, one image each": Way("unary", 64)} | {
    name: WAYS[name] for name in ("one call an image", BATCH, "StreamClassify, 32 under way")
}


@dataclass(frozen=True, slots=True)
class Floor:
    """What nobody can save, in processor seconds an image.

    Attributes:
        decode: for decoding one.
        model: for running it on one thread, by growing batch size.
    """

    decode: float
    model: dict[int, float]

    def at(self, batch: float) -> float:
        """Both, at a mean batch size, joined by straight lines between the sizes that were measured."""
        below = max((size for size in self.model if size <= batch), default=min(self.model))
        above = min((size for size in self.model if size >= batch), default=max(self.model))
        share = (batch - below) / (above - below) if above > below else 0.0
        return self.decode + self.model[below] + share * (self.model[above] - self.model[below])


def bench_overhead(server: ServerProcess, repository: Path) -> None:
    """Prints the overhead of each way to call, as the median of all rounds with its interval."""
    floor = _floor(repository / MODEL / "1")
    spells: dict[str, list[Spell]] = {name: [] for name in _CALLED}
    for number in range(ROUNDS):
        names = list(_CALLED)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            spells[name].append(measure(server, _CALLED[name]))
    told = ", ".join(f"{size}: {1e6 * seconds:.0f}" for size, seconds in floor.model.items())
    print(f"\n{MODEL}, PNG digits: serving beyond decoding ({1e6 * floor.decode:.0f} µs) and the model (µs an image by")
    print(f"batch size, one thread: {told}), processor time of the server, {ROUNDS} rounds in turns, medians:")
    for name, rounds in spells.items():
        over = [1e6 * (processor_seconds_per_call(spell) - floor.at(_batch(spell))) for spell in rounds]
        whole = 1e6 * median(map(processor_seconds_per_call, rounds))
        print(
            f"  {name:34} {median(over):5.0f} µs an image, from {min(over):.0f} to {max(over):.0f} (of {whole:.0f}; "
            f"mean batch {median(map(_batch, rounds)):.1f})"
        )


def _batch(spell: Spell) -> float:
    return (spell.server and spell.server.mean_batch_size) or 1.0


def _floor(folder: Path) -> Floor:
    torch.set_num_threads(1)
    model = load_model(folder, torch.device("cpu"), _SIZES[-1])
    spec, contents = model.manifest.input, [path.read_bytes() for path in PICTURES]
    images = [decode(EncodedImage(content), spec, 10**6) for content in contents]
    by_size = {size: _run_seconds(model, (images * size)[:size]) / size for size in _SIZES}
    decoding = _processor_seconds(lambda: [decode(EncodedImage(each), spec, 10**6) for each in contents])
    return Floor(decoding / len(contents), by_size)


def _run_seconds(model: Model, images: Sequence[object]) -> float:
    return _processor_seconds(lambda: model.run(images, 5))  # type: ignore[arg-type]


def _processor_seconds(work: Callable[[], object]) -> float:
    """Of one piece of work: the least of some spells, for whatever disturbs them only adds."""
    spells = []
    for _ in range(7):
        started = time.thread_time()
        for _ in range(100):
            work()
        spells.append((time.thread_time() - started) / 100)
    return min(spells)


def main() -> None:
    """Measures a server of its own."""
    repository = Path("model-repository")
    with ServerProcess("--repository", str(repository), "--models", MODEL) as server:
        bench_overhead(server, repository)


if __name__ == "__main__":
    main()
