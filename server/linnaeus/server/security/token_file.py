"""The tokens that a server accepts, reloaded when their file changes. Independent of gRPC."""

import logging
import time
from collections.abc import Callable

from linnaeus.server.errors import StartupError
from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.server.security.tokens import Holder, find_holder, read_tokens

logger = logging.getLogger(__name__)

_CHECK_SECONDS = 1.0


class TokenFile:
    """The tokens of a file, looked at again at most once a second.

    A file that becomes unusable is told of in the log, and the tokens that were known before stay good.

    Belongs to the event loop's thread.

    Raises:
        StartupError: the file cannot be used from the start.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._checked_at = clock()
        try:
            self._file = ReloadedFiles([path], lambda contents: read_tokens(contents[0]), self._refused)
        except (ValueError, OSError) as error:
            raise StartupError(f"the token file {path} cannot be used: {_reason(error)}") from None

    def holder(self, token: str) -> Holder | None:
        """Finds whose token it is; None for nobody's."""
        now = self._clock()
        if now - self._checked_at >= _CHECK_SECONDS:
            self._checked_at = now
            if self._file.reload_if_changed():
                logger.info("the token file %s was read again: %d tokens", self._path, len(self._file.value))
        return find_holder(token.encode("utf-8", "surrogateescape"), self._file.value)

    def _refused(self, error: Exception) -> None:
        logger.error("the token file %s cannot be used; the old tokens hold: %s", self._path, _reason(error))


def _reason(error: Exception) -> str:
    return str(error.strerror or error) if isinstance(error, OSError) else str(error)
