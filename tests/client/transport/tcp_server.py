"""A server of TCP connections that leaves none behind at its end, however late one came."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]


@asynccontextmanager
async def tcp_server(connected: Connected) -> AsyncIterator[str]:
    """Calls `connected` for each connection, which it closes afterwards; yields the address. Ends what is left."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Task[Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(cast("asyncio.Task[Any]", asyncio.current_task()))
        with contextlib.suppress(ConnectionError):
            await connected(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        listener.close()
        while any("accept_connection" in str(task.get_coro()) for task in asyncio.all_tasks()):
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # `serve` begins for those that were taken last
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
