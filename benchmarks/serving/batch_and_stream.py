"""`make bench-many`: what one caller gets from `lenet` by calls for one image, calls for 32, and a stream.

The ways are measured in turns and told as the median of all rounds. The load comes from this project's own tester, one
process with one connection, which shares the cores with the server. Its callers send the next message once they have
the answer to the last one, so a stream with 32 of them has 32 images under way, as a call for 32 has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.common.load_tester import processor_seconds_per_call
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.progress import Silence
from linnaeus.client.load.results import Spell
from linnaeus.client.load.running import run_single
from linnaeus.server.rpc.child_server import ServerProcess

REPOSITORY = Path("model-repository")
PICTURES = tuple(sorted(Path("pictures/digits").glob("*.png")))
MODEL = "lenet"
ROUNDS = 7
SECONDS = 2.0
PROMISED_GAIN = 3.0


@dataclass(frozen=True, slots=True)
class Way:
    """One way to send images: messages under way at once, and images in each."""

    rpc: str
    concurrency: int
    batch_size: int = 1


UNARY = "one call an image"
BATCH = "ClassifyBatch of 32"
WAYS = {
    UNARY: Way("unary", 1),
    "32 calls at once, one image each": Way("unary", 32),
    BATCH: Way("batch", 1, 32),
    "two ClassifyBatch of 32 at once": Way("batch", 2, 32),
    "StreamClassify, 32 under way": Way("stream", 32),
    "StreamClassify, 64 under way": Way("stream", 64),
}


def measure(server: ServerProcess, way: Way) -> Spell:
    """One spell.

    Raises:
        RuntimeError: an image was not answered, or the server's metrics could not be read.
    """
    plan = Plan(
        target=server.target,
        pictures=PICTURES,
        model=MODEL,
        rpc=way.rpc,
        batch_size=way.batch_size,
        concurrency=way.concurrency,
        duration_seconds=SECONDS,
        warmup_seconds=0.3,
        processes=1,
        metrics_url=server.metrics_url,
    )
    run = run_single(plan, Silence())
    spell = run.spells[0]
    if spell.server is None or spell.counts.ok != spell.counts.sent:
        raise RuntimeError(f"{way}: {spell.counts}; {' '.join(run.notes)}")
    return spell


def tell(spells: Mapping[str, list[Spell]]) -> None:
    """Prints the medians, and what a call for 32 gains."""
    print(f"{MODEL}, PNG digits, {ROUNDS} rounds in turns, medians:")
    for name, rounds in spells.items():
        rate = median(spell.goodput for spell in rounds)
        cost = 1e6 * median(map(processor_seconds_per_call, rounds))
        batch = median(spell.server.mean_batch_size or 0.0 for spell in rounds if spell.server)
        busy = 100 * median(spell.tester.busy for spell in rounds)
        print(
            f"  {name:34} {rate:6.0f} images/s, server's processor {cost:5.0f} µs an image, "
            f"mean batch {batch:4.1f}, tester busy {busy:3.0f} %"
        )
    gains = [batch.goodput / one.goodput for batch, one in zip(spells[BATCH], spells[UNARY], strict=True)]
    print(
        f"  {BATCH} : {UNARY}, images/s = {median(gains):.1f}, from {min(gains):.1f} to {max(gains):.1f} "
        f"(at least {PROMISED_GAIN:g})"
    )


def main() -> None:
    """Runs all rounds."""
    spells: dict[str, list[Spell]] = {name: [] for name in WAYS}
    with ServerProcess("--repository", str(REPOSITORY), "--models", MODEL) as server:
        for _ in range(ROUNDS):
            for name, way in WAYS.items():
                spells[name].append(measure(server, way))
    tell(spells)


if __name__ == "__main__":
    main()
