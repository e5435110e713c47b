"""The event loop that a client belongs to; the blocking client has none."""

import asyncio


class HomeLoop:
    """The event loop of a client's first call. gRPC's channel belongs to it, and would fail or hang in another one."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    def check(self) -> None:
        """Checks that the running event loop is the one of the first call.

        Raises:
            RuntimeError: if it is another one.
        """
        running = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = running
        elif self._loop is not running:
            raise RuntimeError(
                "this AsyncClient belongs to the event loop of its first call: make a new one in each event loop, "
                "and so in each asyncio.run"
            )
