"""The context of a call in a replica, with what servicers and the interceptor ask gRPC's context for."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NoReturn

import grpc

from linnaeus.ray.outcome import CallAborted
from linnaeus.ray.timeout import TIMEOUT_KEY
from linnaeus.server.rpc.status import Status

_TOO_LARGE = "SERVER: Received message larger than max ({} vs. {})"  # the words of gRPC, by which clients know it


class OneMessage:
    """The message of a call that has one, which is not kept once it was read.

    Args:
        message: its bytes.
    """

    __slots__ = ("_message",)

    def __init__(self, message: bytes) -> None:
        self._message: bytes | None = message

    def __aiter__(self) -> "OneMessage":
        return self

    async def __anext__(self) -> bytes:
        message, self._message = self._message, None
        if message is None:
            raise StopAsyncIteration
        return message


class ReplicaContext:
    """Implements what is used of gRPC's `ServicerContext`, over what Ray passes to a replica.

    Args:
        grpc_context: Ray's, with the metadata and the connection.
        messages: the request messages, as bytes.
        max_message_bytes: the maximum size of one.

    Attributes:
        answers: what a method with a stream of answers has written, to be taken one by one.
    """

    def __init__(self, grpc_context: Any, messages: AsyncIterator[bytes], max_message_bytes: int) -> None:
        self._context = grpc_context
        self._messages = messages
        self._max_message_bytes = max_message_bytes
        self._metadata = [each for each in grpc_context.invocation_metadata() if each[0] != TIMEOUT_KEY]
        self._deadline = _deadline(grpc_context)
        # One at a time: a caller that reads slowly stops the method that writes.
        self.answers: asyncio.Queue[Any] = asyncio.Queue(1)

    async def read(self) -> Any:
        """Returns the next request message; `grpc.aio.EOF` after the last.

        Raises:
            CallAborted: if it is too large.
        """
        message = await anext(self._messages, grpc.aio.EOF)
        if isinstance(message, bytes) and len(message) > self._max_message_bytes:
            await self.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, _TOO_LARGE.format(len(message), self._max_message_bytes)
            )
        return message

    async def write(self, answer: Any) -> None:
        """Writes an answer of a stream."""
        await self.answers.put(answer)

    def time_remaining(self) -> float | None:
        """Returns the seconds until the deadline; None for no deadline."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.0)

    def invocation_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """Returns the caller's metadata."""
        return self._metadata

    def peer(self) -> str:
        """Returns the address and port of the caller of the proxy."""
        peer: str = self._context.peer()
        return peer

    def peer_identities(self) -> tuple[bytes, ...] | None:
        """Returns None: Ray's proxy asks for no certificates."""
        return None

    def code(self) -> None:
        """Returns None: no code is set but by `abort`."""

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Sequence[tuple[str, str | bytes]] = ()
    ) -> NoReturn:
        """Ends the call with a status.

        Raises:
            CallAborted: always.
        """
        raise CallAborted(Status(code, details, tuple(trailing_metadata)))


def _deadline(grpc_context: Any) -> float | None:
    """Returns the deadline on the monotonic clock.

    The proxy sends the seconds that were left, since clocks of machines differ: the way here is not counted.
    """
    seconds = next((value for key, value in grpc_context.invocation_metadata() if key == TIMEOUT_KEY), None)
    return None if seconds is None else time.monotonic() + float(seconds)
