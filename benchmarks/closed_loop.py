"""A closed loop of callers in a process of its own, as cheap for the machine as gRPC allows.

Requests are serialised once and answers are not parsed: what the callers cost is taken from the server's cores.
"""

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import grpc

METHOD = "/linnaeus.v1.ClassifierService/Classify"


@dataclass(frozen=True, slots=True)
class Load:
    """What the callers saw: answers, failures, and seconds from the first call to the last answer."""

    answers: int
    failures: int
    seconds: float
    median_seconds: float

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds


async def call_for(target: str, requests: list[bytes], callers: int, seconds: float) -> Load:
    """Keeps that many calls in flight for that long; each caller sends the next request once it has its answer."""
    latencies: list[float] = []
    failures = 0
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        started = time.perf_counter()

        async def one_caller(place: int) -> None:
            nonlocal failures
            while (sent := time.perf_counter()) < started + seconds:
                try:
                    await call(requests[place % len(requests)])
                    latencies.append(time.perf_counter() - sent)
                except grpc.RpcError:
                    failures += 1
                place += callers

        await asyncio.gather(*(one_caller(place) for place in range(callers)))
    elapsed = time.perf_counter() - started
    return Load(len(latencies), failures, elapsed, sorted(latencies)[len(latencies) // 2] if latencies else 0.0)


def main() -> None:
    """`closed_loop.py TARGET CALLERS SECONDS FILE…`: each FILE is a serialised request; prints JSON."""
    target, callers, seconds, *files = sys.argv[1:]
    requests = [Path(name).read_bytes() for name in files]
    print(json.dumps(asdict(asyncio.run(call_for(target, requests, int(callers), float(seconds))))))


if __name__ == "__main__":
    main()
