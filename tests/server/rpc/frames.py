"""HTTP/2 as tests need it: a peer that pings, and a relay that counts a client's pings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, GOAWAY = 4, 6, 7
ACK = 1
_HEAD_BYTES = 9


def frame(kind: int, flags: int = 0, payload: bytes = b"") -> bytes:
    """Returns a frame of stream 0 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + bytes(4) + payload


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, int, bytes]:
    """Returns the kind, the flags and the payload of the next frame."""
    head = await reader.readexactly(_HEAD_BYTES)
    return head[3], head[4], await reader.readexactly(int.from_bytes(head[:3], "big"))


class Peer:
    """A connection that speaks no more HTTP/2 than settings and pings."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._pings = 0

    async def settings(self) -> dict[int, int]:
        """Returns the server's settings, which come first."""
        kind, _, payload = await read_frame(self._reader)
        assert kind == SETTINGS
        pairs = [payload[start : start + 6] for start in range(0, len(payload), 6)]
        return {int.from_bytes(pair[:2], "big"): int.from_bytes(pair[2:], "big") for pair in pairs}

    async def ping(self) -> bytes | None:
        """Sends a ping and waits for its answer; returns None, or the text of a GOAWAY that came instead."""
        self._pings += 1
        number = self._pings.to_bytes(8, "big")
        self._writer.write(frame(PING, payload=number))
        while True:
            kind, flags, payload = await read_frame(self._reader)
            if kind == GOAWAY:
                return payload[8:]
            if (kind, flags, payload) == (PING, ACK, number):
                return None


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PREFACE + frame(SETTINGS))
    yield Peer(reader, writer)
    writer.close()


class PingRelay:
    """A relay between clients and a server.

    Attributes:
        port: what clients connect to.
        connections: how many clients have connected.
    """

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._pings = 0
        self._has_ended = False
        self._changed = asyncio.Event()
        self.port = 0
        self.connections = 0

    async def pings(self, count: int) -> None:
        """Waits until clients have sent so many pings from now on.

        Raises:
            ConnectionError: if a connection ends.
        """
        wanted = self._pings + count
        while self._pings < wanted:
            if self._has_ended:
                raise ConnectionError(f"the connection ended {wanted - self._pings} pings too early")
            self._changed.clear()
            await self._changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._to_client(from_server, writer))
                tasks.create_task(self._to_server(reader, to_server))
        except* (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            for each in (writer, to_server):
                each.close()
            self._has_ended = True
            self._changed.set()

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
        raise ConnectionResetError

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(len(PREFACE)))
        while True:
            head = await reader.readexactly(_HEAD_BYTES)
            writer.write(head + await reader.readexactly(int.from_bytes(head[:3], "big")))
            if head[3] == PING and not head[4] & ACK:
                self._pings += 1
                self._changed.set()


@asynccontextmanager
async def relayed(server_port: int) -> AsyncIterator[PingRelay]:
    relay = PingRelay(server_port)
    async with await asyncio.start_server(relay._serve, "127.0.0.1", 0) as listener:
        relay.port = listener.sockets[0].getsockname()[1]
        yield relay
