"""TLS: the server's certificate and the authority of client certificates, reloaded when their files change.

gRPC's C core fetches the certificate at every new connection, on threads of its own. The key is held in memory only.
"""

import logging
import ssl
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from linnaeus.server.errors import StartupError
from linnaeus.server.security.reloaded_files import ReloadedFiles
from linnaeus.text_files import reason_of, without_mark

logger = logging.getLogger(__name__)

_NOT_PEM = "one of them is not PEM, or the key has a password"
# OpenSSL's names of what is usually wrong.
_REASONS = {
    None: _NOT_PEM,
    "": _NOT_PEM,
    "NO_START_LINE": _NOT_PEM,
    "PEM_LIB": _NOT_PEM,
    "BAD_DECRYPT": "the key has a password; write it without one",
    "KEY_VALUES_MISMATCH": "the key is that of another certificate",
    "KEY_TYPE_MISMATCH": "the key is that of another certificate",
}


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The paths of the PEM files.

    Attributes:
        certificate: the server's certificate chain, its own certificate first.
        key: the certificate's private key, without a password.
        client_ca: the certificates of the authorities that sign client certificates; empty if clients need none.
    """

    certificate: str
    key: str
    client_ca: str = ""


class Certificates:
    """The certificates that a server uses at each handshake, reloaded when their files change.

    If the changed files are invalid, or certificate and key do not match yet, an error is logged and the previous
    certificates stay in use.

    Must live as long as the server: the C core holds no reference of its own to `credentials`.

    Attributes:
        files: their paths.
        credentials: the server credentials for `add_secure_port`.

    Raises:
        StartupError: if the files cannot be used at construction.
    """

    def __init__(self, files: TlsFiles) -> None:
        self.files = files
        self._lock = threading.Lock()
        paths = [path for path in (files.certificate, files.key, files.client_ca) if path]
        try:
            self._reloaded_files = ReloadedFiles(paths, self._configuration, self._log_error)
        except (ValueError, OSError) as error:
            raise StartupError(f"TLS: {reason_of_failure(error)}") from None
        fetch: Any = self._fetch  # may return None, which the type stubs do not allow
        self.credentials = grpc.dynamic_ssl_server_credentials(
            self._reloaded_files.value, fetch, require_client_authentication=bool(files.client_ca)
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Returns the new configuration; None for no change. The C core calls this before each handshake."""
        with self._lock:
            if not self._reloaded_files.reload_if_changed():
                return None
            logger.info("TLS: %s was read again", self.files.certificate)
            return self._reloaded_files.value

    def _configuration(self, contents: list[bytes]) -> grpc.ServerCertificateConfiguration:
        """Checks the files first: of invalid ones the C core would only log that a connection failed."""
        checked_context(self.files)
        # OpenSSL, which checked them, skips a byte order mark; the C core's BoringSSL finds nothing behind it.
        certificate, key, *client_ca = map(without_mark, contents)
        return grpc.ssl_server_certificate_configuration([(key, certificate)], *client_ca)

    def _log_error(self, error: Exception) -> None:
        logger.error("TLS: the old certificate stays in use: %s", reason_of_failure(error))


def checked_context(files: TlsFiles) -> ssl.SSLContext:
    """Returns a context of OpenSSL's with the files; it asks for a client's certificate if there is an authority.

    Raises:
        OSError: if a file cannot be read.
        ValueError: if a file cannot be loaded, or certificate and key do not match.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without any password OpenSSL would prompt for one on the terminal; a wrong one makes it fail instead.
        context.load_cert_chain(files.certificate, files.key, password="")
    except ssl.SSLError as error:
        reason = _REASONS.get(error.reason) or error.reason.lower().replace("_", " ")
        together = f"the certificate {files.certificate} and the key {files.key} cannot be used together"
        raise ValueError(f"{together}: {reason}") from None
    if files.client_ca:
        try:
            context.load_verify_locations(files.client_ca)
        except ssl.SSLError:
            raise ValueError(f"the file {files.client_ca} holds no certificates in PEM") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def reason_of_failure(error: Exception) -> str:
    """Returns why files cannot be used, for the log."""
    if isinstance(error, OSError):
        return f"the file {error.filename} cannot be read: {reason_of(error)}"
    return str(error)
