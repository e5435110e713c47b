"""`make bench-many`: single calls, `ClassifyBatch` and `StreamClassify` by one caller of `lenet`.

They are measured in turns; printed figures are medians over all rounds. The load comes from this project's own load
tester, one process with one connection, which shares the cores with the server. Its callers send the next message once
the last one is answered: a stream of 32 such callers has 32 images in flight, as a call with 32 images has.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.common.images import digits
from benchmarks.common.load_tester import measure_answered, processor_seconds_per_image
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import Measurement
from linnaeus.server.rpc.child_server import ServerProcess

REPOSITORY = Path("model-repository")
MODEL = "lenet"
ROUNDS = 7
SECONDS = 2.0
PROMISED_GAIN = 3.0


@dataclass(frozen=True, slots=True)
class CallPattern:
    """How images are sent: the load tester's name of the RPC, messages in flight, and images in each message."""

    rpc: str
    concurrency: int
    batch_size: int = 1


UNARY = "one call an image"
BATCH = "ClassifyBatch of 32"
STREAM = "StreamClassify, 32 under way"
PATTERNS = {
    UNARY: CallPattern("unary", 1),
    "32 calls at once, one image each": CallPattern("unary", 32),
    BATCH: CallPattern("batch", 1, 32),
    "two ClassifyBatch of 32 at once": CallPattern("batch", 2, 32),
    STREAM: CallPattern("stream", 32),
    "StreamClassify, 64 under way": CallPattern("stream", 64),
}


def measure(server: ServerProcess, pattern: CallPattern) -> Measurement:
    """Measures one call pattern for a few seconds.

    Raises:
        RuntimeError: if an image is not answered, or the server's metrics cannot be read.
    """
    return measure_answered(
        Plan(
            target=server.target,
            pictures=digits(),
            model=MODEL,
            rpc=pattern.rpc,
            batch_size=pattern.batch_size,
            concurrency=pattern.concurrency,
            duration_seconds=SECONDS,
            warmup_seconds=0.3,
            processes=1,
            metrics_url=server.metrics_url,
        )
    )


def print_patterns(measured: Mapping[str, list[Measurement]]) -> None:
    """Prints the medians, and what a call with 32 images gains."""
    print(f"{MODEL}, PNG digits, {ROUNDS} rounds in turns, medians:")
    for name, rounds in measured.items():
        rate = median(each.goodput for each in rounds)
        cost = 1e6 * median(map(processor_seconds_per_image, rounds))
        batch = median(each.server.mean_batch_size or 0.0 for each in rounds if each.server)
        busy = 100 * median(each.tester.busy for each in rounds)
        print(
            f"  {name:34} {rate:6.0f} images/s, server's processor {cost:5.0f} µs an image, "
            f"mean batch {batch:4.1f}, tester busy {busy:3.0f} %"
        )
    gains = [batch.goodput / one.goodput for batch, one in zip(measured[BATCH], measured[UNARY], strict=True)]
    print(
        f"  {BATCH} : {UNARY}, images/s = {median(gains):.1f}, from {min(gains):.1f} to {max(gains):.1f} "
        f"(at least {PROMISED_GAIN:g})"
    )


def main() -> None:
    """Measures all patterns in all rounds."""
    measured: dict[str, list[Measurement]] = {name: [] for name in PATTERNS}
    with ServerProcess("--repository", str(REPOSITORY), "--models", MODEL) as server:
        for _ in range(ROUNDS):
            for name, pattern in PATTERNS.items():
                measured[name].append(measure(server, pattern))
    print_patterns(measured)


if __name__ == "__main__":
    main()
