"""The token file of a running server, reloaded when it changes. Independent of gRPC."""

import logging
import time
from collections.abc import Callable

from linnaeus.server.errors import StartupError
from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.server.security.tokens import TokenHolder, find_holder, read_tokens
from linnaeus.text_files import reason_of

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0


class TokenFile:
    """The accepted tokens, read from a file that is checked for changes at most once a second.

    If the file becomes invalid, an error is logged and the previous tokens stay valid.

    Belongs to the event loop's thread.

    Args:
        path: the file.
        clock: monotonic, in seconds.

    Raises:
        StartupError: if the file cannot be read or is invalid at construction.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        try:
            self._file = ReloadedFiles([path], lambda contents: read_tokens(contents[0]), self._log_error)
        except (ValueError, OSError) as error:
            raise StartupError(f"the token file {path} cannot be used: {reason_of(error)}") from None

    def holder(self, token: str) -> TokenHolder | None:
        """Returns the holder of a token; None if the token is unknown."""
        now = self._clock()
        if now - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = now
            if self._file.reload_if_changed():
                logger.info("the token file %s was read again: %d tokens", self._path, len(self._file.value))
        return find_holder(token.encode("utf-8", "surrogateescape"), self._file.value)

    def _log_error(self, error: Exception) -> None:
        logger.error("the token file %s cannot be used; the old tokens hold: %s", self._path, reason_of(error))
