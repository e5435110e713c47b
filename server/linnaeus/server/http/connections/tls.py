"""TLS of the HTTP port: the same files as gRPC's, read again before a handshake if they have changed."""

import logging
import ssl

from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.server.security.tls import TlsFiles, checked_context, reason_of_failure

logger = logging.getLogger(__name__)


class TlsContexts:
    """The context of each handshake: of the files as they are then, or of invalid ones as they were before.

    Raises:
        ValueError: if the files cannot be used at construction.
        OSError: if a file cannot be read at construction.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        paths = [path for path in (files.certificate, files.key, files.client_ca) if path]
        self._reloaded = ReloadedFiles(paths, lambda _: self._context(), self._log)

    def current(self) -> ssl.SSLContext:
        """Returns the context of a handshake that begins now."""
        if self._reloaded.reload_if_changed():
            logger.info("TLS: %s was read again for HTTP", self._files.certificate)
        return self._reloaded.value

    def _context(self) -> ssl.SSLContext:
        context = checked_context(self._files)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _log(self, error: Exception) -> None:
        logger.error("TLS: the old certificate stays in use for HTTP: %s", reason_of_failure(error))
