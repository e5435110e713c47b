"""`make bench-reload`: a model is reloaded again and again while callers send images without a pause.

    .venv/bin/python -m benchmarks.stability.model_reload [--reloads 200] [--callers 32] [--model lenet]

Run it from the repository's root with the model exported. The labels of each generation begin with its number, so that
an answer shows its generation. Calls are not retried: each failure counts.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import grpc

from benchmarks.common.images import digits
from benchmarks.common.process_usage import memory_bytes
from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

REPOSITORY = Path("model-repository")
# By then the heap has reached the size that serving and loading at the same time need.
BASELINE_RELOAD = 20
MOST_GROWTH = 0.05


@dataclass(slots=True)
class CallResults:
    """The calls of all callers of a process.

    Attributes:
        seconds: duration of each answered call.
        failures: status and details of each other call, as text.
        mixed: answers with labels of more than one generation.
        backwards: answers of an older generation than the caller's previous answer.
    """

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    mixed: int = 0
    backwards: int = 0

    def check_generation(self, answer: v1.ClassifyResponse, previous: int) -> int:
        """Compares an answer with the generation of the caller's previous one; returns the answer's generation."""
        generations = {int(scored.label.split()[0]) for scored in answer.classes}
        self.mixed += len(generations) != 1
        self.backwards += max(generations) < previous
        return max(generations)


def main() -> None:
    """Reloads under load, then prints the findings."""
    options = _options()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Manager() as manager, ProcessPoolExecutor(1, context) as pool:
        root = Path(folder)
        _write_generation(root, options.model, 0)
        arguments = ["--repository", folder, "--model-control", "start"]
        with ServerProcess(*arguments) as server:
            ended = manager.Event()
            calling = pool.submit(call, server.target, options.model, options.callers, ended)
            memory, seconds = _reload(server, root, options)
            ended.set()
            results = calling.result()
    _print_results(results, memory, seconds, options)


def call(target: str, model: str, callers: int, ended: Event) -> CallResults:
    """Runs a closed loop of `callers` calls in flight until `ended` is set."""
    return asyncio.run(_call(target, model, callers, ended))


async def _call(target: str, model: str, callers: int, ended: Event) -> CallResults:
    images = (v1.Image(encoded=path.read_bytes()) for path in digits())
    requests = [v1.ClassifyRequest(image=image, model=model, top_k=10) for image in images]
    results = CallResults()
    stopped = asyncio.create_task(asyncio.to_thread(ended.wait))
    async with grpc.aio.insecure_channel(target, [("grpc.enable_retries", 0)]) as channel:
        classify = ClassifierServiceStub(channel).Classify
        sent = (requests[place % len(requests)] for place in range(callers))
        await asyncio.gather(*(_caller(classify, request, stopped, results) for request in sent))
    return results


async def _caller(
    classify: "grpc.aio.UnaryUnaryMultiCallable[v1.ClassifyRequest, v1.ClassifyResponse]",
    request: v1.ClassifyRequest,
    stopped: asyncio.Future[bool],
    results: CallResults,
) -> None:
    generation = 0
    while not stopped.done():
        started = time.perf_counter()
        try:
            answer = await classify(request, timeout=30)
        except grpc.aio.AioRpcError as error:
            results.failures.append(f"{error.code().name}: {error.details()}")
            continue
        results.seconds.append(time.perf_counter() - started)
        generation = results.check_generation(answer, generation)


def _reload(server: ServerProcess, root: Path, options: argparse.Namespace) -> tuple[dict[int, int], list[float]]:
    """Returns the server's resident memory in KiB after every 20th reload, and how long each reload took."""
    memory, seconds = {0: _resident_kibibytes(server)}, []
    with Client(server.target) as client:
        for number in range(1, options.reloads + 1):
            _write_generation(root, options.model, number)
            started = time.perf_counter()
            client.reload_model(options.model)
            seconds.append(time.perf_counter() - started)
            if number % BASELINE_RELOAD == 0 or number == options.reloads:
                memory[number] = _resident_kibibytes(server)
                print(f"reload {number}: {memory[number] / 1024:.1f} MiB, {seconds[-1]:.2f} s", flush=True)
    return memory, seconds


def _write_generation(root: Path, model: str, number: int) -> None:
    """Replaces the version folder by one whose labels begin with the number; both steps are renames."""
    written, old, final = (root / model / name for name in (".new", ".old", "1"))
    shutil.copytree(REPOSITORY / model / "1", written)
    labels = (written / "labels.txt").read_text(encoding="utf-8").splitlines()
    (written / "labels.txt").write_text("".join(f"{number} {label}\n" for label in labels), encoding="utf-8")
    if final.exists():
        final.rename(old)
    written.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _resident_kibibytes(server: ServerProcess) -> int:
    return memory_bytes(server.child.pid) // 1024


def _print_results(
    results: CallResults, memory: dict[int, int], seconds: Sequence[float], options: argparse.Namespace
) -> None:
    ordered = sorted(results.seconds)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99))
    calls = len(results.seconds) + len(results.failures)
    growth = memory[options.reloads] / memory[min(BASELINE_RELOAD, options.reloads)] - 1
    print(f"\n{options.reloads} reloads of {options.model} under {options.callers} callers, {sum(seconds):.0f} s")
    print(f"  a reload took {sorted(seconds)[len(seconds) // 2]:.2f} s (median), {max(seconds):.2f} s at most")
    print(
        f"  {calls} calls, {calls / sum(seconds):.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"longest {ordered[-1] * 1000:.0f} ms"
    )
    _print_finding("calls that failed", len(results.failures), not results.failures)
    _print_finding("answers that mix generations", results.mixed, not results.mixed)
    _print_finding("answers of an older generation than the caller had seen", results.backwards, not results.backwards)
    _print_finding(f"memory since reload {BASELINE_RELOAD}, at most 5 % more", f"{growth:+.1%}", growth <= MOST_GROWTH)
    for failure in sorted(set(results.failures))[:5]:
        print(f"    {results.failures.count(failure)} x {failure}")


def _print_finding(promise: str, found: object, is_kept: bool) -> None:
    print(f"  {promise}: {found}, {'kept' if is_kept else 'MISSED'}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reloads", type=int, default=200)
    parser.add_argument("--callers", type=int, default=32)
    parser.add_argument("--model", default="lenet")
    options = parser.parse_args()
    if options.reloads < 1 or options.callers < 1:
        parser.error("--reloads and --callers must be at least 1")
    return options


if __name__ == "__main__":
    main()
