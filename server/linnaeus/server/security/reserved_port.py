"""A TCP port that is taken before anything listens on it, so that a port in use is known before models are loaded."""

import errno
import socket

from linnaeus.server.security.listen_address import (
    Address,
    accept_ipv4_too,
    cannot_listen,
    require_usable_socket_file,
)

_NOT_OF_THIS_MACHINE = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class ReservedPort:
    """The port of an address, bound from construction to `release` without listening; callers are refused meanwhile.

    A server may listen on the port before `release`: Linux lets sockets share an address that they bind with
    SO_REUSEADDR, as gRPC does, while none of them listens.

    Args:
        address: the address; port 0 stands for any free port. A socket file is checked, and not taken.
        what: what is to listen, for the error.
        is_shared: whether other servers may listen there as well, and do so for the same callers.

    Attributes:
        address: the address with its port.

    Raises:
        StartupError: if another process listens there, the host is unknown or none of this machine's, or a socket file
            cannot be made.
    """

    def __init__(self, address: Address, what: str = "gRPC", is_shared: bool = False) -> None:
        self._socket = None
        if address.is_socket_file:
            require_usable_socket_file(address)
        else:
            self._socket = _bind_first(address, what, is_shared)
        self.address = address
        if self._socket is not None:
            self.address = Address(address.host, self._socket.getsockname()[1])

    def listening_socket(self, backlog: int) -> socket.socket:
        """Listens on the port, and returns the socket; the reservation has ended then.

        Raises:
            OSError: if another server listens there by now.
        """
        taken, self._socket = self._socket, None
        if taken is None:
            raise OSError(errno.EBADF, "the port is no longer reserved")
        taken.listen(backlog)
        taken.setblocking(False)
        return taken

    def release(self) -> None:
        """Gives the port back, or leaves it to the server that listens on it."""
        if self._socket is not None:
            self._socket.close()


def _bind_first(address: Address, what: str, is_shared: bool) -> socket.socket:
    """Returns a socket bound to the first of the host's addresses that this machine has.

    Raises:
        StartupError: if the host is unknown, that address cannot be bound, or the machine has none of them.
    """
    last_error: OSError | UnicodeError = OSError()
    try:
        for family, host in _resolve(address.host):
            try:
                return _bind(family, host, address.port, is_shared)
            except OSError as error:
                last_error = error
                if error.errno not in _NOT_OF_THIS_MACHINE:
                    break
    except (OSError, UnicodeError) as error:
        last_error = error
    raise cannot_listen(what, address, last_error)


def _bind(family: socket.AddressFamily, host: str, port: int, is_shared: bool) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        accept_ipv4_too(opened)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened


def _resolve(host: str) -> list[tuple[socket.AddressFamily, str]]:
    """Returns the TCP addresses of a host.

    Raises:
        OSError, UnicodeError: if the host is unknown.
    """
    found = socket.getaddrinfo(host or None, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    addresses: list[tuple[socket.AddressFamily, str]] = [(family, str(name[0])) for family, _, _, _, name in found]
    if host == "::":  # gRPC takes IPv4 for it where there is no IPv6
        addresses.append((socket.AF_INET, "0.0.0.0"))
    return addresses
