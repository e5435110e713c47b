"""`make bench-reload`: a model is loaded anew again and again while callers ask without a pause.

    .venv/bin/python -m benchmarks.stability.model_reload [--reloads 200] [--callers 32] [--model lenet]

Run it from the repository's root with the model exported. Each generation's labels begin with its number, so that an
answer tells which one it is from. No call is ever sent twice: one that fails counts.
"""

import argparse
import asyncio
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import grpc

from linnaeus.client import Client
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

REPOSITORY = Path("model-repository")
DIGITS = Path("pictures/digits")
# The heap has grown by then to what serving and loading at once need.
FIRST_LOOK = 20
MOST_GROWTH = 0.05
PAGE_KIBIBYTES = 4


@dataclass(frozen=True, slots=True)
class Heard:
    """What all callers of a process heard.

    Attributes:
        seconds: how long each answered call took.
        failures: what the others ended with, as text.
        mixed: answers with labels of more than one generation.
        backwards: answers of an older generation than the same caller's answer before.
    """

    seconds: list[float]
    failures: list[str]
    mixed: int
    backwards: int


def main() -> None:
    """Reloads under load, then tells what was promised and what was found."""
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
            heard = calling.result()
    _tell(heard, memory, seconds, options)


def call(target: str, model: str, callers: int, ended: Event) -> Heard:
    """Asks from so many callers, each sending its next picture once it has its answer, until told to end."""
    return asyncio.run(_call(target, model, callers, ended))


async def _call(target: str, model: str, callers: int, ended: Event) -> Heard:
    pictures = [path.read_bytes() for path in sorted(DIGITS.glob("*.png"))]
    heard = Heard([], [], 0, 0)
    told = asyncio.create_task(asyncio.to_thread(ended.wait))
    async with grpc.aio.insecure_channel(target, [("grpc.enable_retries", 0)]) as channel:
        stub = ClassifierServiceStub(channel)

        async def ask(place: int) -> tuple[int, int]:
            mixed = backwards = newest = 0
            picture = v1.Image(encoded=pictures[place % len(pictures)])
            while not told.done():
                started = time.perf_counter()
                try:
                    answer = await stub.Classify(v1.ClassifyRequest(image=picture, model=model, top_k=10), timeout=30)
                except grpc.aio.AioRpcError as error:
                    heard.failures.append(f"{error.code().name}: {error.details()}")
                    continue
                heard.seconds.append(time.perf_counter() - started)
                generations = {int(scored.label.split()[0]) for scored in answer.classes}
                mixed += len(generations) != 1
                backwards += max(generations) < newest
                newest = max(generations)
            return mixed, backwards

        counts = await asyncio.gather(*(ask(place) for place in range(callers)))
    return Heard(heard.seconds, heard.failures, sum(each for each, _ in counts), sum(each for _, each in counts))


def _reload(server: ServerProcess, root: Path, options: argparse.Namespace) -> tuple[dict[int, int], list[float]]:
    """Returns the server's resident memory in KiB after every 20th reload, and how long each reload took."""
    memory, seconds = {0: _resident_kibibytes(server)}, []
    with Client(server.target) as client:
        for number in range(1, options.reloads + 1):
            _write_generation(root, options.model, number)
            started = time.perf_counter()
            client.reload_model(options.model)
            seconds.append(time.perf_counter() - started)
            if number % FIRST_LOOK == 0 or number == options.reloads:
                memory[number] = _resident_kibibytes(server)
                print(f"reload {number}: {memory[number] / 1024:.1f} MiB, {seconds[-1]:.2f} s", flush=True)
    return memory, seconds


def _write_generation(root: Path, model: str, number: int) -> None:
    """Replaces the version folder, by renaming, with one whose labels begin with the number."""
    written, old, final = (root / model / name for name in (".new", ".old", "1"))
    shutil.copytree(REPOSITORY / model / "1", written)
    labels = (written / "labels.txt").read_text(encoding="utf-8").splitlines()
    (written / "labels.txt").write_text("".join(f"{number} {label}\n" for label in labels), encoding="utf-8")
    if final.exists():
        final.rename(old)
    written.rename(final)
    shutil.rmtree(old, ignore_errors=True)


def _resident_kibibytes(server: ServerProcess) -> int:
    pages = Path(f"/proc/{server.child.pid}/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * PAGE_KIBIBYTES


def _tell(heard: Heard, memory: dict[int, int], seconds: Sequence[float], options: argparse.Namespace) -> None:
    ordered = sorted(heard.seconds)
    p50, p99 = (ordered[int(share * (len(ordered) - 1))] * 1000 for share in (0.5, 0.99))
    calls = len(heard.seconds) + len(heard.failures)
    growth = memory[options.reloads] / memory[min(FIRST_LOOK, options.reloads)] - 1
    print(f"\n{options.reloads} reloads of {options.model} under {options.callers} callers, {sum(seconds):.0f} s")
    print(f"  a reload took {sorted(seconds)[len(seconds) // 2]:.2f} s (median), {max(seconds):.2f} s at most")
    print(
        f"  {calls} calls, {calls / sum(seconds):.0f} a second, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
        f"longest {ordered[-1] * 1000:.0f} ms"
    )
    _judge("calls that failed", len(heard.failures), not heard.failures)
    _judge("answers that mix generations", heard.mixed, not heard.mixed)
    _judge("answers of an older generation than the caller had seen", heard.backwards, not heard.backwards)
    _judge(f"memory since reload {FIRST_LOOK}, at most 5 % more", f"{growth:+.1%}", growth <= MOST_GROWTH)
    for failure in sorted(set(heard.failures))[:5]:
        print(f"    {heard.failures.count(failure)} x {failure}")


def _judge(promise: str, found: object, is_kept: bool) -> None:
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
