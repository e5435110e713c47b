"""TLS: the server's certificate and whose certificates clients must show, read again when the files change.

The C core asks for the certificate at every new connection, on threads of its own. The key is held in memory only.
"""

import logging
import ssl
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from linnaeus.server.errors import StartupError
from linnaeus.server.security.reloaded_files import ReloadedFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Where the PEM files lie.

    Attributes:
        certificate: the server's chain, its own certificate first.
        key: the certificate's private key, without a password.
        client_ca: the authorities that clients' certificates must come from; empty asks for none.
    """

    certificate: str
    key: str
    client_ca: str = ""


class Certificates:
    """What a server shows at each handshake.

    Files that were changed into something that cannot be used, or only half of it so far, are told of in the log, and
    connections are made with the old ones.

    Keep it as long as the server: the C core holds no reference of its own to `credentials`.

    Raises:
        StartupError: the files cannot be used from the start.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        paths = [path for path in (files.certificate, files.key, files.client_ca) if path]
        try:
            self._reloaded_files = ReloadedFiles(paths, self._configuration, self._refused)
        except (ValueError, OSError) as error:
            raise StartupError(f"TLS: {_reason(error)}") from None
        fetch: Any = self._fetch  # which may return None, unlike the stubs have it
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._reloaded_files.value, fetch, require_client_authentication=bool(files.client_ca)
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by the C core before each handshake; None for no change."""
        with self._lock:
            if not self._reloaded_files.reload_if_changed():
                return None
            logger.info("TLS: %s was read again", self._files.certificate)
            return self._reloaded_files.value

    def _configuration(self, contents: list[bytes]) -> grpc.ServerCertificateConfiguration:
        """Checks what was read; the C core would only log, in words of its own, that a connection failed."""
        _check(self._files)
        certificate, key, *client_ca = contents
        return grpc.ssl_server_certificate_configuration([(key, certificate)], *client_ca)

    def _refused(self, error: Exception) -> None:
        logger.error("TLS: the old certificate stays in use: %s", _reason(error))


def _check(files: TlsFiles) -> None:
    """Sees whether OpenSSL can use the files, and whether certificate and key belong together.

    Raises:
        ValueError: they cannot be used, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # With a password at hand, even a wrong one, OpenSSL does not ask the terminal for one.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError as error:
        raise ValueError(
            f"the certificate {files.certificate} and the key {files.key} cannot be used together "
            f"({error.reason or 'not PEM, or a key with a password'})"
        ) from None
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError:
            raise ValueError(f"the file {files.client_ca} holds no certificates in PEM") from None


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"the file {error.filename} cannot be read ({error.strerror})"
    return str(error)
