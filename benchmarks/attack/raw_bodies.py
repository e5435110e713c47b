"""Calls whose bodies travel exactly as they are given: compressed a thousandfold, or never finished."""

import asyncio
import time
import zlib
from collections import Counter
from dataclasses import dataclass

from benchmarks.attack.hostile_load import HostileCalls, Target
from benchmarks.attack.http2_frames import headers_frame, message_prefix, open_connection
from benchmarks.attack.paced_calls import UNANSWERED
from benchmarks.overload.grpc_callers import sleep_until

_GZIP = 16 + zlib.MAX_WBITS
_MILLION = bytes(1_000_000)
_ENDED = "ended by the server"
# So long the connections stay open after the last call was begun.
_HELD_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBodies:
    """Implements `HostileLoad`; each call has a connection of its own, which stays open until the end.

    Attributes:
        path: of the method.
        body: a message with its prefix, or the begin of one.
        headers: besides those that each call has.
        is_whole: whether the body ends there; if not, the server is left waiting for the rest.
        rate: calls a second.
    """

    path: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    is_whole: bool = True
    rate: float

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """See `HostileLoad`."""
        started, ended = time.monotonic(), Counter[str]()
        async with asyncio.TaskGroup() as group:
            calls = []
            for number in range(round(self.rate * seconds)):
                await sleep_until(started + number / self.rate)
                calls.append(group.create_task(self._call(target, ended)))
            last_sent = time.monotonic()
            await asyncio.sleep(_HELD_SECONDS)
            for call in calls:
                call.cancel()
        return HostileCalls(last_sent, ended)

    async def _call(self, target: Target, ended: Counter[str]) -> None:
        """Sends one body and waits until the connection is closed, or the attack is over."""
        async with open_connection(target.address) as connection:
            try:
                connection.write(headers_frame(1, self.path, (*self.headers, *target.metadata)))
                await connection.write_body(1, self.body, self.is_whole)
                await connection.closed
            finally:
                ended[_ENDED if 1 in connection.ended else UNANSWERED] += 1


def gzip_bomb(path: str, megabytes: int, rate: float) -> RawBodies:
    """Returns calls with a message of zeros that gzip makes a thousand times smaller."""
    compressor = zlib.compressobj(9, wbits=_GZIP)
    compressed = b"".join([*(compressor.compress(_MILLION) for _ in range(megabytes)), compressor.flush()])
    body = message_prefix(len(compressed), compressed=True) + compressed
    return RawBodies(path=path, body=body, headers=(("grpc-encoding", "gzip"),), rate=rate)


def unfinished_bodies(path: str, megabytes: int, rate: float) -> RawBodies:
    """Returns calls that send so much of a message that is a byte longer, and then wait."""
    body = message_prefix(megabytes * len(_MILLION) + 1) + _MILLION * megabytes
    return RawBodies(path=path, body=body, is_whole=False, rate=rate)
