"""The metrics of all processes, which a front end asks its supervisor for."""

import asyncio
from collections.abc import Callable

from linnaeus.server.errors import Unavailable

# The supervisor waits for its processes for half a second, and merges for some milliseconds.
_PATIENCE_SECONDS = 2.0
_RETRY_SECONDS = 1.0
_SILENT = "the process that gathers the metrics does not respond; its log may say why"
_FAILED = "the metrics could not be gathered; the log of the server has the cause"


class AskedMetrics:
    """Implements `MetricsText` by a question to the supervisor. Belongs to the event loop's thread.

    Invariants:
        - At most one question is open, however many wait for its answer, and however long it takes: a supervisor that
          stands still does not find a heap of questions.

    Args:
        ask: sends the question; `answered` is called with the answer.
        patience_seconds: how long a caller waits.
    """

    def __init__(self, ask: Callable[[], None], patience_seconds: float = _PATIENCE_SECONDS) -> None:
        self._ask = ask
        self._patience_seconds = patience_seconds
        self._answer: asyncio.Future[bytes] | None = None

    async def __call__(self) -> bytes:
        """Returns the metrics of all processes.

        Raises:
            Unavailable: if the supervisor does not respond, or cannot gather them.
        """
        if self._answer is None:
            self._answer = asyncio.get_running_loop().create_future()
            self._ask()
        try:
            async with asyncio.timeout(self._patience_seconds):
                text = await asyncio.shield(self._answer)
        except TimeoutError:
            raise Unavailable(_SILENT, _RETRY_SECONDS) from None
        if not text:
            raise Unavailable(_FAILED, _RETRY_SECONDS)
        return text

    def answered(self, text: bytes) -> None:
        """Takes the answer to the question; empty if the metrics could not be gathered."""
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.set_result(text)
