"""One measurement of one server under load."""

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.common.h2load import CallTimes, UnaryCall, closed_loop
from benchmarks.common.process_usage import processor_seconds
from benchmarks.peers.request_sets import RequestSet
from benchmarks.peers.servers import RunningServer
from benchmarks.peers.stream_load import stream_closed_loop


@dataclass(frozen=True, slots=True)
class Scenario:
    """How a server is called.

    Attributes:
        server: which one.
        method: as it is printed.
        requests: what is sent.
        concurrency: messages in flight.
        connections: that they are sent on, of h2load; a stream has one.
    """

    server: RunningServer
    method: str
    requests: RequestSet
    concurrency: int
    connections: int = 1

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"{self.server.name}, {self.method}"


@dataclass(frozen=True, slots=True)
class Measurement:
    """Figures of one run.

    Attributes:
        rate: images a second.
        p50, p99: seconds from a message to its answer.
        processor_seconds: of the server, for one image.
        batch_size: mean number of images in a batch.
        client_busy: share of a core that the load generator used.
    """

    rate: float
    p50: float
    p99: float
    processor_seconds: float
    batch_size: float
    client_busy: float


@dataclass(frozen=True, slots=True)
class SteadyState:
    """The part of a closed loop that counts: latencies in seconds, ascending, and its duration in seconds."""

    latencies: Sequence[float]
    seconds: float


# Sends load to a scenario's server for so many seconds in a numbered round.
SendLoad: TypeAlias = Callable[[Scenario, float, int], Sequence[CallTimes]]


def measure(scenario: Scenario, seconds: float, number: int, send: SendLoad | None = None) -> Measurement:
    """Sends load for `seconds`.

    The server's processor time includes what it does for messages outside the steady state, as do its counters.

    Args:
        scenario: what is measured.
        seconds: how long load is sent.
        number: of the round; h2load sends another message in each.
        send: sends the load; None for gRPC's.

    Raises:
        OSError, RuntimeError, grpc.RpcError: if the server fails, a call fails, or an answer is wrong.
    """
    server = scenario.server
    statistics, spent, client = server.statistics(), processor_seconds(server.process), _client_seconds()
    calls = (send or send_load)(scenario, seconds, number)
    client = _client_seconds() - client
    spent, counted = processor_seconds(server.process) - spent, server.statistics() - statistics
    # h2load cancels what is in flight at the end, and tritonserver counts that as failed; streams end by themselves.
    cancelled = 0 if scenario.requests.streaming else scenario.concurrency * scenario.requests.images
    if counted.failures > cancelled or not counted.images or not counted.batches:
        raise RuntimeError(f"{scenario.name}: {counted} while {len(calls)} calls ended")
    steady = steady_state(calls, scenario.concurrency)
    return Measurement(
        rate=len(steady.latencies) * scenario.requests.images / steady.seconds,
        p50=steady.latencies[len(steady.latencies) // 2],
        p99=steady.latencies[len(steady.latencies) * 99 // 100],
        processor_seconds=spent / counted.images,
        batch_size=counted.images / counted.batches,
        client_busy=client / seconds,
    )


def steady_state(calls: Sequence[CallTimes], concurrency: int) -> SteadyState:
    """Selects the calls that count from a closed loop.

    It leaves out the first calls, which are all sent at once, and selects a multiple of `concurrency`: answers come in
    bursts, as batches end, and a period that began after a burst and ended before one would underestimate the rate, by
    more for larger batches.

    Args:
        calls: in the order in which they ended.
        concurrency: calls in flight.

    Raises:
        RuntimeError: if fewer than two times `concurrency` calls ended.
    """
    count = (len(calls) // concurrency - 1) * concurrency
    if count <= 0:
        raise RuntimeError(f"only {len(calls)} calls ended with {concurrency} in flight: measure for longer")
    selected = calls[concurrency : concurrency + count]
    seconds = selected[-1].ended - calls[concurrency - 1].ended
    return SteadyState(sorted(each.ended - each.started for each in selected), seconds)


def send_load(scenario: Scenario, seconds: float, number: int) -> Sequence[CallTimes]:
    """Sends load by gRPC, and returns the calls in the order in which they ended.

    Raises:
        OSError, RuntimeError, grpc.RpcError: if the server fails, a call fails, or an answer is wrong.
    """
    requests, server = scenario.requests, scenario.server
    if requests.streaming:
        return stream_closed_loop(server.target, requests, scenario.concurrency, seconds)
    place = number % len(requests.messages)
    call = UnaryCall(target=server.target, path=requests.path, message=requests.messages[place])
    requests.check(place, server.call(call.path, call.message))
    result = closed_loop(call, scenario.concurrency // scenario.connections, seconds, scenario.connections)
    if result.failures:
        raise RuntimeError(f"{scenario.name}: calls failed: {dict(result.failures)}")
    return result.calls


def _client_seconds() -> float:
    """Returns the processor time of this process and of its child processes that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
