"""The addresses that servers listen on: TCP ports of IPv4 and IPv6, and socket files."""

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

_WILDCARD_IPV6 = "::"
_WILDCARD_IPV4 = "0.0.0.0"
_CONNECT_SECONDS = 1.0


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
    if address.host.startswith(UNIX):
        _require_free(address.host.removeprefix(UNIX))
    try:
        if certificates is None:
            port = server.add_insecure_port(str(address))
        else:
            port = server.add_secure_port(str(address), certificates.credentials)
    except RuntimeError:
        raise StartupError(f"gRPC cannot listen on {address}; {_likely_cause(address)}") from None
    return 0 if address.is_socket_file else port


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


def _require_free(path: str) -> None:
    """Checks that no server listens on a socket file; gRPC replaces the file without asking.

    Raises:
        StartupError: if a server answers there, or the file is no socket or cannot be examined.
    """
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise StartupError(f"gRPC cannot listen on unix:{path}: it is a file, but no socket")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            probe.connect(path)
    except (FileNotFoundError, ConnectionRefusedError):
        return  # nothing there, or left over by a server that died
    except BlockingIOError:
        pass  # its queue of connections is full
    except OSError as error:
        raise StartupError(f"gRPC cannot listen on unix:{path}: {error.strerror or error}") from None
    raise StartupError(
        f"gRPC cannot listen on unix:{path}: another server listens there; end it, or choose another path"
    )


def _likely_cause(address: Address) -> str:
    if address.is_socket_file:
        return "does the folder exist, and may the server write to it?"
    return "is another server using the port?"
