"""The request messages of one call: bounded in memory while they are received and held, inflated and parsed.

gRPC hands every message over as its bytes, and begins to receive one only when it is asked to. So a call can be refused
before its message is read, and a message that does not parse is an error like any other.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from linnaeus.server.errors import InvalidArgument
from linnaeus.server.process.limited_log import LimitedLog
from linnaeus.server.rpc.inflation import inflated, is_gzip
from linnaeus.server.rpc.message_turns import MessageTurns
from linnaeus.server.security.byte_budget import ByteBudget, Reservation

# gRPC may tell that the caller cancelled a moment after it has reported the end of the messages.
_CANCELLATION_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Reception:
    """How the messages of a method are received; shared by all its calls.

    Attributes:
        method: the full name of the method, for the log.
        deserializer: parses the messages; None leaves them as bytes.
        budget: bounds the bytes.
        log: gets a line of messages that cannot be parsed.
        turns: shared with all other methods.
    """

    method: str
    deserializer: Callable[[bytes], Any] | None
    budget: ByteBudget
    log: LimitedLog
    turns: MessageTurns


class RequestMessages:
    """The messages of one call, to be read one after the other or iterated over.

    A message holds its bytes in the budget until the next one is read, or until whoever took its hold releases it.

    Args:
        context: the call's context.
        reception: that of its method.
        caller: the name under which the bytes are counted.
    """

    __slots__ = ("_caller", "_context", "_hold", "_reception")

    def __init__(self, context: Any, reception: Reception, caller: str) -> None:
        self._context = context
        self._reception = reception
        self._caller = caller
        self._hold: Reservation | None = None

    def __aiter__(self) -> "RequestMessages":
        return self

    async def __anext__(self) -> Any:
        message = await self.read()
        if message is grpc.aio.EOF:
            raise StopAsyncIteration
        return message

    async def read(self) -> Any:
        """Returns the next message of a stream; `grpc.aio.EOF` after the last.

        Raises:
            InvalidArgument: if the message cannot be inflated or parsed.
            Overloaded: if there is no room for the message, or the call has to give way to others.
        """
        await self._reception.turns.take()
        return await self._read(is_only=False)

    def take_turn(self) -> Awaitable[None]:
        """Returns an awaitable that ends when the stream may write its next answer; see `MessageTurns`."""
        return self._reception.turns.take()

    async def _read(self, is_only: bool) -> Any:
        if self._hold is not None:
            self.release()
        reception = self._reception
        budget = reception.budget
        hold = self._hold = budget.reserve_at_once(self._caller) or await budget.reserve(self._caller)
        try:
            content = await self._context.read()
        except asyncio.CancelledError:
            hold.raise_if_ended()
            raise
        if content is grpc.aio.EOF:
            self.release()
            if is_only:
                await _refuse_no_message()
            return content
        if is_gzip(content):
            content = await inflated(content, budget.message_bytes)
        hold.received(len(content))
        if is_only:
            reception.turns.call_came(self)
        if reception.deserializer is None:
            return content
        try:
            return reception.deserializer(content)
        except (DecodeError, ValueError):
            message = f"the message of {len(content)} bytes is no valid request of {reception.method}"
            reception.log.log("%s", message)
            raise InvalidArgument("request", f"{message}; build it from the server's contract") from None

    def read_only(self) -> Awaitable[Any]:
        """Returns an awaitable of the message of a call that has one.

        Raises:
            InvalidArgument: if the caller ends its request without a message, or as `read`.
            Overloaded: as `read`.
        """
        return self._read(is_only=True)

    def take_hold(self) -> Reservation | None:
        """Hands the bytes of the message that was read last over to the caller of this method, who releases them."""
        hold, self._hold = self._hold, None
        return hold

    def release(self) -> None:
        """Releases what is held, unless it was taken; called at the end of the call, too."""
        self._reception.turns.call_ended(self)
        if self._hold is not None:
            self._hold.release()
            self._hold = None


def release_hold(hold: Reservation | None) -> None:
    """Releases what `RequestMessages.take_hold` handed over."""
    if hold is not None:
        hold.release()


async def _refuse_no_message() -> None:
    await asyncio.sleep(_CANCELLATION_SECONDS)  # a caller that cancelled is not told anything
    raise InvalidArgument("request", "the call ended without its message; send exactly one")
