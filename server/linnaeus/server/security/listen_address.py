"""The addresses that servers listen on: TCP ports of IPv4 and IPv6, and socket files."""

import errno
import ipaddress
import os
import socket
import stat
from dataclasses import dataclass
from functools import cache

import grpc

from linnaeus.server.config.hosts import UNIX, is_socket_file
from linnaeus.server.errors import StartupError
from linnaeus.server.security.tls import Certificates
from linnaeus.text_files import reason_of

_WILDCARD_IPV6 = "::"
_WILDCARD_IPV4 = "0.0.0.0"
_CONNECT_SECONDS = 1.0
_ANOTHER_HOST = "the address is none of this machine's; choose another host"
_REASONS = {
    errno.EADDRINUSE: "another program uses the port; end it, or choose another port",
    errno.EACCES: "ports below 1024 take more rights than the server has; choose another port",
    errno.EADDRNOTAVAIL: _ANOTHER_HOST,
    errno.EAFNOSUPPORT: _ANOTHER_HOST,
}


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port, where port 0 stands for any free port; or a socket file, whose port means nothing.

    The host is as `config.hosts` has it: without brackets, or `unix:PATH`, or `unix-abstract:NAME`.
    """

    host: str
    port: int

    def __str__(self) -> str:
        if self.is_socket_file:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_socket_file(self) -> bool:
        """Whether only processes of this machine reach it, by a path or an abstract name."""
        return is_socket_file(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches the address; False for every host name but `localhost`."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.is_socket_file


def listen(server: grpc.aio.Server, address: Address, certificates: Certificates | None = None) -> int:
    """Opens a port of a server that has not started, and returns the port number; 0 for a socket file.

    gRPC listens on IPv4 and IPv6 for `::` and for `0.0.0.0`, on what the machine has of the two.

    Args:
        server: the server.
        address: the address to listen on.
        certificates: the server's certificates; None for no TLS.

    Raises:
        StartupError: if the port cannot be opened, or another server listens on the socket file.
    """
    if address.is_socket_file:
        require_usable_socket_file(address)
    try:
        if certificates is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), certificates.credentials)
    except RuntimeError:  # without a reason, which `ReservedPort` gave if it was there before
        cause = "an unknown reason" if address.is_socket_file else "another program may listen on the port"
        raise StartupError(f"gRPC cannot listen on {address}: {cause}; choose another one") from None
    return 0 if address.is_socket_file else port


def cannot_listen(what: str, address: Address, error: OSError | UnicodeError) -> StartupError:
    """Returns the error for an address that cannot be bound: a sentence with the cause and a remedy.

    Args:
        what: what was to listen: `gRPC` or `the metrics`.
        address: the address.
        error: the error of the socket, or of the look-up of the host.
    """
    number = None if isinstance(error, (UnicodeError, socket.gaierror)) else error.errno
    reason = _REASONS.get(number, reason_of(error)) if number else "this machine does not know the host; correct it"
    return StartupError(f"{what} cannot listen on {address}: {reason}")


def bindable_host(host: str) -> str:
    """Returns the host to bind a socket of our own to: `0.0.0.0` in place of `::` on a machine without IPv6."""
    return _WILDCARD_IPV4 if host == _WILDCARD_IPV6 and not _has_ipv6() else host


def socket_family(host: str) -> socket.AddressFamily:
    """Returns the family of the first address of a host.

    Raises:
        OSError: if the host is unknown.
    """
    return socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]


def accept_ipv4_too(listener: socket.socket) -> None:
    """Lets a socket that will be bound to `::` take connections over IPv4, whatever the machine's default is."""
    if listener.family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)


@cache
def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind((_WILDCARD_IPV6, 0))
    except OSError:
        return False
    return True


def require_usable_socket_file(address: Address) -> None:
    """Checks that a socket file can be made and that no server listens there; gRPC replaces the file without asking.

    Abstract names are left to gRPC.

    Raises:
        StartupError: if a server answers there, the file is no socket or cannot be examined, or its folder is missing
            or cannot be written to.
    """
    if not address.host.startswith(UNIX):
        return
    path = address.host.removeprefix(UNIX)
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        raise StartupError(f"gRPC cannot listen on unix:{path}: its folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StartupError(f"gRPC cannot listen on unix:{path}: the server's user may not write to its folder {folder}")
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise StartupError(f"gRPC cannot listen on unix:{path}: it is a file, but no socket; choose another path")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return  # nothing there, or left over by a server that died
    except BlockingIOError:
        pass  # its queue of connections is full
    except OSError as error:
        raise StartupError(f"gRPC cannot listen on unix:{path}: {reason_of(error)}") from None
    raise StartupError(
        f"gRPC cannot listen on unix:{path}: another server listens there; end it, or choose another path"
    )
