"""A closed loop of callers in a process of its own, as cheap for the machine as gRPC allows.

Requests are serialised once and answers are not parsed: what the callers cost is taken from the server's cores.
"""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

METHOD = "/linnaeus.v1.ClassifierService/Classify"
_FOREVER = 10**12


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers saw, and what they cost.

    Attributes:
        answers, failures: calls that ended well or otherwise.
        seconds: from the first call to the last answer.
        median_seconds: of the answered calls.
        processor_seconds: what the callers' own process spent meanwhile.
    """

    answers: int
    failures: int
    seconds: float
    median_seconds: float
    processor_seconds: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


def run_callers(
    target: str, requests: list[Path], callers: int, *, seconds: float = _FOREVER, calls: int = _FOREVER
) -> Load:
    """Runs the callers in another process until the time is up or the calls are sent.

    Args:
        target: the server.
        requests: files that hold one serialised request each; callers go round them.
        callers: how many calls are in flight at once.
        seconds: for how long calls are sent.
        calls: how many are sent at most.
    """
    command = [sys.executable, __file__, target, str(callers), str(seconds), str(calls), *map(str, requests)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return Load(**json.loads(done.stdout))


async def _call(target: str, requests: list[bytes], callers: int, seconds: float, calls: int) -> Load:
    """Each caller sends its next request once it has its answer."""
    latencies: list[float] = []
    failures = sent = 0
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        started, processor_started = time.perf_counter(), time.process_time()

        async def one_caller() -> None:
            nonlocal failures, sent
            while sent < calls and (begun := time.perf_counter()) < started + seconds:
                sent += 1
                try:
                    await call(requests[sent % len(requests)])
                    latencies.append(time.perf_counter() - begun)
                except grpc.RpcError:
                    failures += 1

        await asyncio.gather(*(one_caller() for _ in range(callers)))
    elapsed = time.perf_counter() - started
    median_seconds = sorted(latencies)[len(latencies) // 2] if latencies else 0.0
    return Load(len(latencies), failures, elapsed, median_seconds, time.process_time() - processor_started)


def main() -> None:
    """The child's side of `run_callers`."""
    target, callers, seconds, calls, *files = sys.argv[1:]
    requests = [Path(name).read_bytes() for name in files]
    print(json.dumps(asdict(asyncio.run(_call(target, requests, int(callers), float(seconds), int(calls))))))


if __name__ == "__main__":
    main()
