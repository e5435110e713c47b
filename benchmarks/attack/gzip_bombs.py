"""Messages that unfold to a thousand times their size before their length can be checked."""

import asyncio
import time
import zlib
from collections import Counter
from dataclasses import dataclass

from benchmarks.attack.hostile_load import PATIENCE_SECONDS, HostileCalls, Target
from benchmarks.attack.http2_frames import call_frames, message_prefix, open_connection
from benchmarks.overload.grpc_callers import sleep_until

_GZIP = 16 + zlib.MAX_WBITS
_ENCODING = (("grpc-encoding", "gzip"),)
_SENT = "sent"


@dataclass(frozen=True, slots=True)
class GzipBombs:
    """Implements `HostileLoad`; each call has a connection of its own, which stays open to the end.

    Attributes:
        path: of the method.
        compressed: the message, at most 65,530 bytes, since no windows are kept.
        rate: calls a second.
    """

    path: str
    compressed: bytes
    rate: float

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """See `HostileLoad`."""
        started, stop = time.monotonic(), asyncio.Event()
        async with asyncio.TaskGroup() as calls:
            for number in range(round(self.rate * seconds)):
                await sleep_until(started + number / self.rate)
                calls.create_task(self._call(target, stop))
            last_sent = time.monotonic()
            await asyncio.sleep(min(PATIENCE_SECONDS, 1.0))
            stop.set()
        return HostileCalls(last_sent, Counter({_SENT: round(self.rate * seconds)}))

    async def _call(self, target: Target, stop: asyncio.Event) -> None:
        body = message_prefix(len(self.compressed), compressed=True) + self.compressed
        async with open_connection(target.address) as (writer, _):
            writer.write(call_frames(1, self.path, body, (*_ENCODING, *target.metadata)))
            await stop.wait()


def gzip_zeros(count: int) -> bytes:
    """Returns so many zero bytes as gzip compresses them."""
    compressor = zlib.compressobj(9, wbits=_GZIP)
    return compressor.compress(bytes(count)) + compressor.flush()
