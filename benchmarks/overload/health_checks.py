"""Health checks during a load: one each 20 ms from a process of its own, whatever becomes of earlier ones."""

import asyncio
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from benchmarks.common.child_process import ChildProcess
from benchmarks.overload.grpc_callers import sleep_until

PERIOD_SECONDS = 0.020
_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One health check, in seconds of `time.monotonic`; a failed one ends when its timeout would have passed."""

    intended: float
    sent: float
    ended: float

    @property
    def seconds(self) -> float:
        """The latency from the planned send time, as a prober with a fixed period sees it."""
        return self.ended - self.intended

    @property
    def lag(self) -> float:
        """The part of the latency by which the checking process itself was late."""
        return self.sent - self.intended


class HealthMonitor:
    """Checks the server's health until the `with` block ends.

    Args:
        target: the server's address.
    """

    def __init__(self, target: str) -> None:
        self._child = ChildProcess(_check_in_process, target)
        self._checks: list[HealthCheck] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._child.connection.send(None)
        self._checks = self._child.connection.recv()
        self._child.join()

    def between(self, start: float, end: float) -> list[HealthCheck]:
        """Returns the checks that were planned for a period; empty before the `with` block has ended."""
        return [each for each in self._checks if start <= each.intended < end]


def _check_in_process(connection: Connection, target: str) -> None:
    connection.send(asyncio.run(_check_until_stopped(connection, target)))


async def _check_until_stopped(connection: Connection, target: str) -> list[HealthCheck]:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    async with grpc.aio.insecure_channel(target, options=options) as channel, asyncio.TaskGroup() as checks:
        await channel.channel_ready()
        stub: Any = health_pb2_grpc.HealthStub(channel)  # its types name no methods
        connection.send("ready")
        moment, tasks = time.monotonic(), []
        while not connection.poll():
            tasks.append(checks.create_task(_check(stub, moment)))
            moment += PERIOD_SECONDS
            await sleep_until(moment)
    return [task.result() for task in tasks]


async def _check(stub: Any, intended: float) -> HealthCheck:
    sent = time.monotonic()
    try:
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    except grpc.aio.AioRpcError:
        serving = False
    return HealthCheck(intended, sent, time.monotonic() if serving else sent + _TIMEOUT_SECONDS)
