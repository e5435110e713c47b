"""Finds out why no connection came about, by connecting once more without gRPC and looking at what comes back.

gRPC reports the failure of the address that it tried last, so for a name with several addresses, such as localhost, it
tells that nobody listens at `::1` and hides that TLS failed at 127.0.0.1. Here the address that got furthest counts.

Makes a few short connections, sends no request and no token. For the time after a failure, not for the path of a call.
"""

import socket
import ssl
import time
from contextlib import closing
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

from linnaeus.client.transport.addresses import Addresses
from linnaeus.client.transport.tls import Tls

# RFC 9113, 3.4: what a client sends first, with an empty SETTINGS frame; a server answers with one of its own.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
_FRAME_HEADER_BYTES = 9
_SETTINGS = 4
_MAX_ADDRESSES = 4
# X509_V_ERR_… of OpenSSL's x509_vfy.h.
_EXPIRED, _NOT_YET_VALID = 10, 9
_WRONG_NAME = frozenset({62, 63, 64})  # a host name, an e-mail address, an IP address
_CERTIFICATE_REQUIRED = "CERTIFICATE_REQUIRED"  # within OpenSSL's name for the alert of TLS 1.3


class Trouble(IntEnum):
    """What stands in the way of a connection; the higher, the further a connection got."""

    UNKNOWN_NAME = 0
    NO_SOCKET_FILE = 1
    UNREACHABLE = 2
    REFUSED = 3
    CONNECT_TIMEOUT = 4
    SILENT = 5
    NOT_GRPC = 6
    WEB_SERVER = 7
    SPEAKS_TLS = 8
    SPEAKS_NO_TLS = 9
    TLS_FAILED = 10
    UNKNOWN_AUTHORITY = 11
    WRONG_NAME = 12
    EXPIRED = 13
    NOT_YET_VALID = 14
    ASKS_FOR_CERTIFICATE = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """The trouble at the address that got furthest; `detail` is the system's or OpenSSL's own word for it."""

    trouble: Trouble
    detail: str = ""


class _Found(Exception):
    """Ends a probe with its finding."""

    def __init__(self, trouble: Trouble, detail: str = "") -> None:
        super().__init__(trouble, detail)
        self.finding = Finding(trouble, detail)


def find_trouble(addresses: Addresses, tls: Tls | None, timeout_seconds: float) -> Finding | None:
    """Connects to the servers one after another, and returns what is wrong.

    Args:
        addresses: the servers.
        tls: the client's settings; None for a plain connection.
        timeout_seconds: of all connections together.

    Returns:
        None if a server answers as gRPC does, or there is no way to tell.
    """
    ends_at = time.monotonic() + timeout_seconds
    findings = []
    for host, port in addresses.endpoints:
        try:
            for connect in _addresses_of(host, port)[:_MAX_ADDRESSES]:
                try:
                    _Probe(connect, tls, host, ends_at).run()
                    return None
                except _Found as found:
                    findings.append(found.finding)
        except _Found as found:
            findings.append(found.finding)
    return max(findings, key=lambda finding: finding.trouble, default=None)


def _addresses_of(host: str, port: str) -> "list[partial[socket.socket]]":
    """Returns a function for each address of a host, which connects within a timeout."""
    if not port:
        return [partial(_connect, socket.AF_UNIX, host)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise _Found(Trouble.UNKNOWN_NAME, error.strerror or str(error)) from None
    return [partial(_connect, family, address) for family, *_, address in found]


def _connect(family: int, address: object, timeout_seconds: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_seconds)
        connection.connect(address)  # type: ignore[arg-type]
    except TimeoutError:
        connection.close()
        raise _Found(Trouble.CONNECT_TIMEOUT) from None
    except ConnectionRefusedError as error:
        connection.close()
        raise _Found(Trouble.REFUSED, error.strerror or str(error)) from None
    except OSError as error:
        connection.close()
        trouble = Trouble.NO_SOCKET_FILE if isinstance(error, FileNotFoundError) else Trouble.UNREACHABLE
        raise _Found(trouble, error.strerror or str(error)) from None
    return connection


@dataclass(frozen=True, slots=True)
class _Probe:
    """The look at one address; raises `_Found` if there is trouble."""

    connect: "partial[socket.socket]"
    tls: Tls | None
    host: str
    ends_at: float

    def run(self) -> None:
        if self.tls is None:
            self._run_plain()
        else:
            self._run_encrypted(self.tls)

    def _run_plain(self) -> None:
        answer = self._plain_answer()
        if _is_settings(answer):
            return
        if self._completes_handshake():
            raise _Found(Trouble.SPEAKS_TLS)
        raise _Found(self._trouble_of(answer))

    def _run_encrypted(self, tls: Tls) -> None:
        try:
            answer = self._encrypted_answer(_context(tls), tls.server_name or self.host)
        except ssl.SSLCertVerificationError as error:
            raise _Found(_certificate_trouble(error.verify_code), error.verify_message) from None
        except (ssl.SSLError, ConnectionError, EOFError) as error:
            raise self._handshake_trouble(error) from None
        except TimeoutError:
            raise _Found(Trouble.SILENT) from None
        except (OSError, ValueError) as error:  # a file that was a pipe, a name that no certificate can hold
            raise _Found(Trouble.TLS_FAILED, getattr(error, "strerror", None) or str(error)) from None
        if not _is_settings(answer):
            asks = answer == b"" and self._refuses_tls_1_2(_context(tls), tls.server_name or self.host)
            raise _Found(Trouble.ASKS_FOR_CERTIFICATE if asks else self._trouble_of(answer))

    def _handshake_trouble(self, error: Exception) -> _Found:
        reason = str(getattr(error, "reason", None) or "")
        if _CERTIFICATE_REQUIRED in reason:
            return _Found(Trouble.ASKS_FOR_CERTIFICATE)
        if _is_settings(self._plain_answer()):
            return _Found(Trouble.SPEAKS_NO_TLS)
        if self._is_web_server():
            return _Found(Trouble.WEB_SERVER)
        return _Found(Trouble.TLS_FAILED, reason.replace("_", " ").lower() or str(error))

    def _trouble_of(self, answer: bytes | None) -> Trouble:
        if answer is None:
            return Trouble.SILENT
        return Trouble.WEB_SERVER if answer.startswith(b"HTTP/") or self._is_web_server() else Trouble.NOT_GRPC

    def _is_web_server(self) -> bool:
        answer = self._plain_answer(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return answer is not None and answer.startswith(b"HTTP/")

    def _plain_answer(self, greeting: bytes = _PREFACE) -> bytes | None:
        """Returns the first bytes that the server sends; None if it sends none in time."""
        with closing(self.connect(self._seconds())) as connection:
            try:
                connection.sendall(greeting)
                connection.settimeout(self._seconds())
                return connection.recv(_FRAME_HEADER_BYTES)
            except TimeoutError:
                return None
            except OSError:
                return b""

    def _encrypted_answer(self, context: ssl.SSLContext, name: str) -> bytes | None:
        with closing(self._wrap(context, name)) as connection:
            connection.sendall(_PREFACE)
            connection.settimeout(self._seconds())
            return connection.recv(_FRAME_HEADER_BYTES)

    def _completes_handshake(self) -> bool:
        """Returns whether the server speaks TLS, whatever its certificate is."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2"])
        return not self._refuses_handshake(context, self.host)

    def _refuses_tls_1_2(self, context: ssl.SSLContext, name: str) -> bool:
        """Returns whether TLS 1.2 fails, which tells within the handshake what TLS 1.3 tells after it, if at all."""
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        return self._refuses_handshake(context, name)

    def _refuses_handshake(self, context: ssl.SSLContext, name: str) -> bool:
        try:
            self._wrap(context, name).close()
        except (OSError, ValueError):
            return True
        return False

    def _wrap(self, context: ssl.SSLContext, name: str) -> ssl.SSLSocket:
        connection = self.connect(self._seconds())
        try:
            return context.wrap_socket(connection, server_hostname=name)
        except BaseException:
            connection.close()
            raise

    def _seconds(self) -> float:
        """Returns half of the time that is left, so that a silent address leaves some for the next look."""
        return max((self.ends_at - time.monotonic()) / 2, 0.05)


def _context(tls: Tls) -> ssl.SSLContext:
    """Returns the settings for OpenSSL, which takes the client's own certificate from files only."""
    authorities = tls.authorities()
    context = ssl.create_default_context(cadata=None if authorities is None else authorities.decode("ascii", "ignore"))
    context.set_alpn_protocols(["h2"])
    if tls.certificate is not None and tls.key is not None:
        if isinstance(tls.certificate, bytes) or isinstance(tls.key, bytes):
            raise _Found(Trouble.TLS_FAILED, "its cause is not known")
        context.load_cert_chain(tls.certificate, tls.key, password=lambda: "")
    return context


def _is_settings(answer: bytes | None) -> bool:
    return answer is not None and len(answer) == _FRAME_HEADER_BYTES and answer[3] == _SETTINGS


def _certificate_trouble(code: int) -> Trouble:
    if code in _WRONG_NAME:
        return Trouble.WRONG_NAME
    return {_EXPIRED: Trouble.EXPIRED, _NOT_YET_VALID: Trouble.NOT_YET_VALID}.get(code, Trouble.UNKNOWN_AUTHORITY)
