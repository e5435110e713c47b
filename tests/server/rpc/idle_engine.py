"""An engine for tests of a server's stop."""

import asyncio


class IdleEngine:
    """An engine without requests in flight; `drained` is set when it is drained."""

    in_flight = 0

    def __init__(self) -> None:
        self.drained = asyncio.Event()

    def drain(self) -> None:
        self.drained.set()
