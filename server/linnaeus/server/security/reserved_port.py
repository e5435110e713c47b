"""A TCP port that is taken before anything listens on it, so that a port in use is known before models are loaded."""

import errno
import socket

from linnaeus.server.errors import StartupError
from linnaeus.server.security.listen_address import Address

_NOT_OF_THIS_MACHINE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class ReservedPort:
    """The port of an address, bound from construction to `release` without listening; callers are refused meanwhile.

    A server may listen on the port before `release`: Linux lets sockets share an address that they bind with
    SO_REUSEADDR, as gRPC does, while none of them listens.

    Args:
        address: the address; port 0 stands for any free port.

    Attributes:
        address: the address with its port. A host that has no TCP address, such as a Unix socket's, is left to gRPC.

    Raises:
        StartupError: if another process listens on the port, or the host is none of this machine's.
    """

    def __init__(self, address: Address) -> None:
        self._socket = _bind_first(address)
        self.address = address
        if self._socket is not None:
            self.address = Address(address.host, self._socket.getsockname()[1])

    def release(self) -> None:
        """Gives the port back, or leaves it to the server that listens on it."""
        if self._socket is not None:
            self._socket.close()


def _bind_first(address: Address) -> socket.socket | None:
    """Returns a socket bound to the first of the host's addresses that this machine has; None if it has no TCP address.

    Raises:
        StartupError: if that address cannot be bound, or the machine has none of them.
    """
    errors: list[OSError] = []
    for family, host in _resolve(address.host):
        try:
            return _bind(family, host, address.port)
        except OSError as error:
            errors.append(error)
            if error.errno not in _NOT_OF_THIS_MACHINE:
                break
    if not errors:
        return None
    reason = errors[-1].strerror or errors[-1]
    sentence = f"gRPC cannot listen on {address}; is another server using the port? ({reason})"
    raise StartupError(sentence)


def _bind(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def _resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Returns the TCP addresses of a host; empty for a Unix socket, and for a name that only gRPC may know."""
    if host.startswith("unix"):
        return []
    try:
        found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return []
    addresses: list[tuple[socket.AddressFamily, str]] = [(family, str(name[0])) for family, _, _, _, name in found]
    if host == "::":  # gRPC takes IPv4 for it where there is no IPv6
        addresses.append((socket.AF_INET, "0.0.0.0"))
    return addresses
