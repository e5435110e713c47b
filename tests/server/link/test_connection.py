"""Frames of messages arrive whole, in order, and however the socket cuts them."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.link.connection import Connection
from linnaeus.server.link.messages import Cancel, Decoded, Expire, GiveBack, Message, ToCore

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Cancel, st.integers(0, 2**60), st.booleans()),
    st.builds(Expire, st.integers(0, 2**60)),
    st.builds(GiveBack, st.lists(st.integers(0, 2**60))),
    st.builds(Decoded, st.integers(0, 2**60), st.floats(0, 1), st.floats(0, 1), st.binary(max_size=300)),
)


class Transport:
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data


class End:
    """One end of a link and the messages that it has received."""

    def __init__(self) -> None:
        self.received: list[ToCore] = []
        self.lost = 0
        self.transport: Any = Transport()
        self.connection: Connection[ToCore] = Connection(ToCore, self._receive, self._lose)
        self.connection.connection_made(self.transport)

    def _receive(self, connection: Connection[ToCore], messages: Sequence[ToCore]) -> None:
        self.received += messages

    def _lose(self, connection: Connection[ToCore]) -> None:
        self.lost += 1


async def sent(*steps: Sequence[Message]) -> bytes:
    """Returns the bytes of messages that were sent in several steps."""
    end = End()
    for step in steps:
        for message in step:
            end.connection.send(message)
        end.connection.flush()
    written: bytes = end.transport.written
    return written


@given(st.lists(st.lists(MESSAGES, max_size=4), max_size=4), st.lists(st.integers(1, 200), min_size=1, max_size=20))
async def test_messages_arrive_in_order_wherever_the_socket_cuts_the_frames(
    steps: list[list[Message]], cuts: list[int]
) -> None:
    data, end = await sent(*steps), End()
    while data:
        size = cuts[len(data) % len(cuts)]
        end.connection.data_received(data[:size])
        data = data[size:]
    assert end.received == [message for step in steps for message in step]


async def test_messages_of_one_step_travel_in_one_frame() -> None:
    alone, together = await sent([Expire(1)], [Expire(2)]), await sent([Expire(1), Expire(2)])
    assert len(together) < len(alone)


async def test_what_is_no_message_is_refused() -> None:
    data, end = await sent([Expire(1)]), End()
    with pytest.raises(msgspec.MsgspecError):
        end.connection.data_received(data[:-1] + b"\xc1")


async def test_nothing_is_sent_after_the_other_end_is_gone() -> None:
    end = End()
    end.connection.connection_lost(None)
    end.connection.send(Expire(1))
    end.connection.flush()
    assert end.lost == 1 and not end.transport.written
