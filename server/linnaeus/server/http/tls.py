"""TLS of the HTTP port: the same files as gRPC's, read again at a handshake if they have changed."""

import logging
import ssl
from typing import Any

from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.server.security.tls import TlsFiles, checked_context

logger = logging.getLogger(__name__)


def reloading_context(files: TlsFiles) -> ssl.SSLContext:
    """Returns a context whose handshakes use the files as they are then; of invalid ones, as they were before.

    Raises:
        ValueError: if the files cannot be used.
        OSError: if a file cannot be read.
    """
    paths = [path for path in (files.certificate, files.key, files.client_ca) if path]
    reloaded = ReloadedFiles(paths, lambda _: _context(files), _log)

    def use_current(handshake: Any, _: Any, __: Any) -> None:
        if reloaded.reload_if_changed():
            logger.info("TLS: %s was read again for HTTP", files.certificate)
        handshake.context = reloaded.value

    outer = _context(files)
    outer.sni_callback = use_current
    return outer


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = checked_context(files)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _log(error: Exception) -> None:
    logger.error("TLS: the old certificate stays in use for HTTP: %s", error)
