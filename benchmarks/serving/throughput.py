"""One served model against the same model in one process without gRPC; a part of `make bench`."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.common.load_tester import measure_closed_loop, processor_seconds_per_image
from benchmarks.common.rounds import rotated
from benchmarks.inference.in_process import VARIANTS, InProcess, Variant
from linnaeus.client.load.results import Measurement
from linnaeus.server.rpc.child_server import ServerProcess

ROUNDS = 9
SECONDS = 2.0
CALLERS = (1, 16, 64)
BATCHES = (1, 2, 4, 8, 16, 32)


class Baseline:
    """Images a second of a model in one process, in one variant.

    Attributes:
        rates: by batch size, measured once at the beginning.
        measured: by number of callers, a figure for each round.
    """

    def __init__(self, process: InProcess) -> None:
        self._process = process
        self.rates = {
            batch: median(process.images_per_second(batch, SECONDS / 2) for _ in range(3)) for batch in BATCHES
        }
        self.measured: dict[int, list[float]] = {callers: [] for callers in CALLERS}

    def best_batch(self, callers: int) -> int:
        """Returns the fastest batch size that this many callers can fill."""
        return max((batch for batch in BATCHES if batch <= callers), key=lambda batch: self.rates[batch])

    def measure(self, callers: int) -> None:
        """Measures the batch size that fits the callers.

        The next batch is decoded while the last one runs, except for a single caller, who waits for each answer.
        """
        batch = self.best_batch(callers)
        self.measured[callers].append(self._process.images_per_second(batch, SECONDS, ahead=callers > 1))


Baselines = Mapping[Variant, Baseline]
Served = Mapping[int, list[Measurement]]


def bench_model(name: str, repository: Path, server: ServerProcess, images: tuple[Path, ...], what: str) -> None:
    """Measures a model with 1, 16 and 64 callers and prints the figures; `what` describes the images."""
    contents = [path.read_bytes() for path in images]
    with ExitStack() as processes:
        baselines = {
            variant: Baseline(processes.enter_context(InProcess(repository / name / "1", contents, variant)))
            for variant in VARIANTS
        }
        served: dict[int, list[Measurement]] = {callers: [] for callers in CALLERS}
        measure_served = partial(measure_closed_loop, server, name, images)
        measure_served(CALLERS[-1], SECONDS)  # warms the server up
        for number in range(ROUNDS):
            for callers in CALLERS:
                _measure_in_turns(number, callers, measure_served, served, baselines)
    _print_model(name, what, baselines, served)


def _measure_in_turns(
    number: int, callers: int, measure_served: Callable[[int, float], Measurement], served: Served, baselines: Baselines
) -> None:
    """Measures the server and each baseline that this many callers could keep busy."""

    def measure() -> None:
        served[callers].append(measure_served(callers, SECONDS))

    comparable = [baseline for variant, baseline in baselines.items() if variant.streams <= callers]
    turns: list[Callable[[], None]] = [measure, *(partial(baseline.measure, callers) for baseline in comparable)]
    for turn in rotated(turns, number):
        turn()


def _print_model(name: str, what: str, baselines: Baselines, served: Served) -> None:
    print(f"\n{name}, {what}, decode included, {ROUNDS} rounds in turns, medians:")
    for variant, baseline in baselines.items():
        rates = ", ".join(f"{batch}: {rate:.0f}" for batch, rate in baseline.rates.items())
        print(f"  in-process, {variant.name}, images/s by batch size: {rates}")
    for callers, measured in served.items():
        print(f"  {callers} caller{'s' * (callers > 1)}: {_served_figures(measured)}")
        _print_ratios(callers, measured, baselines)
    _print_latency(served[CALLERS[0]], baselines)
    _print_gain(served[CALLERS[0]], served[CALLERS[-1]])


def _print_ratios(callers: int, measured: Sequence[Measurement], baselines: Baselines) -> None:
    for variant, baseline in baselines.items():
        if raw := baseline.measured[callers]:
            ratios = [each.goodput / rate for each, rate in zip(measured, raw, strict=True)]
            print(
                f"    served : in-process {variant.name} (batch {baseline.best_batch(callers)}, {median(raw):.0f}/s)"
                f" = {median(ratios):.3f}, from {min(ratios):.3f} to {max(ratios):.3f}"
            )


def _print_latency(one: Sequence[Measurement], baselines: Baselines) -> None:
    """Prints how much longer one caller waits than decoding and the model take in-process on all cores."""
    variant = next(each for each in baselines if each.specialised and each.streams == 1)
    alone = baselines[variant].measured[CALLERS[0]]
    longer = [1e3 * (each.latency.p50 - 1.0 / rate) for each, rate in zip(one, alone, strict=True)]
    print(
        f"  1 caller, p50 less decode and model in-process ({1e3 / median(alone):.1f} ms) = {median(longer):.2f} ms, "
        f"from {min(longer):.2f} to {max(longer):.2f} (at most 1.5)"
    )


def _print_gain(one: Sequence[Measurement], many: Sequence[Measurement]) -> None:
    pairs = list(zip(one, many, strict=True))
    gain = median(b.goodput / a.goodput for a, b in pairs)
    cheaper = median(processor_seconds_per_image(a) / processor_seconds_per_image(b) for a, b in pairs)
    print(f"  {CALLERS[-1]} callers : 1 caller, throughput = {gain:.2f}, for the same processor time = {cheaper:.2f}")


def _served_figures(measured: Sequence[Measurement]) -> str:
    return (
        f"{median(each.goodput for each in measured):.0f} images/s, "
        f"p50 {1e3 * median(each.latency.p50 for each in measured):.1f} ms, "
        f"p99 {1e3 * median(each.latency.p99 for each in measured):.1f} ms, "
        f"mean batch {median(each.server.mean_batch_size or 0.0 for each in measured if each.server):.1f}, "
        f"server's processor {1e6 * median(map(processor_seconds_per_image, measured)):.0f} µs a call, "
        f"tester busy {100 * median(each.tester.busy for each in measured):.0f} %"
    )
