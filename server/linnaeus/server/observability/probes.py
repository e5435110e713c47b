"""The answers of /livez and /readyz: why the server is not live or not ready, from any thread."""

import asyncio
import threading
from collections.abc import Callable

# Longer than a load holds the interpreter's lock, and shorter than an operator's patience.
_PATIENCE_SECONDS = 5.0


class Probes:
    """What probes ask about the server. Any thread may call it.

    Args:
        loop: the event loop that answers the calls.
        unready_reason: returns why the server is not ready, in a sentence; empty if it is.
        patience_seconds: how long the event loop may take to respond.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        unready_reason: Callable[[], str],
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        self._loop = loop
        self._unready_reason = unready_reason
        self._patience_seconds = patience_seconds

    def unready_reason(self) -> str:
        """Returns why no calls should be sent here, in a sentence; empty if they should."""
        return self._unready_reason()

    def unlive_reason(self) -> str:
        """Returns why only a restart helps, in a sentence; empty if the event loop responds.

        Blocks until it does, for `patience_seconds` at most.
        """
        responded = threading.Event()
        try:
            self._loop.call_soon_threadsafe(responded.set)
        except RuntimeError:
            return "the event loop is closed"
        if responded.wait(self._patience_seconds):
            return ""
        return f"the event loop has not responded for {self._patience_seconds:g} s"
