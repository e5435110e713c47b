"""Where the servers are: what a caller may name, and what gRPC is given for it.

Knows addresses only: no channel is made here. A list of host names is the one thing that gRPC has no target for, so
its names are looked up here, once, when the connection is made.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from linnaeus.client.errors import Unavailable
from linnaeus.client.transport.targets import check_host_and_port, check_target, scheme_of

_LOCAL_SCHEMES = frozenset({"unix", "unix-abstract"})
_LITERAL_SCHEMES = frozenset({"ipv4", "ipv6"})


@dataclass(frozen=True, slots=True)
class Addresses:
    """One client's servers.

    Attributes:
        targets: one gRPC target, or several of the form `HOST:PORT`.
    """

    targets: tuple[str, ...]

    def __str__(self) -> str:
        """For sentences: as the caller wrote them."""
        return ", ".join(self.targets)

    @property
    def may_be_several(self) -> bool:
        """Whether more than one server may stand behind them: all but one literal address, localhost or a socket."""
        target = self.targets[0]
        if len(self.targets) > 1 or (scheme_of(target) in _LITERAL_SCHEMES and "," in target):
            return True
        return not self.are_local and not all(_is_literal(host) for host in self.hosts)

    @property
    def are_local(self) -> bool:
        """Whether what is sent to them stays on this machine."""
        if scheme_of(self.targets[0]) in _LOCAL_SCHEMES:
            return True
        return bool(self.hosts) and all(_is_loopback(host) for host in self.hosts)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Names and literal addresses without their ports; empty for a socket file."""
        scheme = scheme_of(self.targets[0])
        if scheme is None:
            return tuple(_split(target)[0] for target in self.targets)
        if scheme == "dns" or scheme in _LITERAL_SCHEMES:
            path = self.targets[0].removeprefix(f"{scheme}:").rpartition("/")[2]
            return tuple(_split(address)[0] for address in path.split(","))
        return ()

    @property
    def need_lookup(self) -> bool:
        """Whether `grpc_target` asks the system's resolver, and may therefore take its time."""
        return len(self.targets) > 1 and not all(_is_literal(host) for host in self.hosts)

    def grpc_target(self) -> str:
        """Returns the one target that stands for all of them; names in a list are looked up now.

        A name that nobody knows is left out as long as another is known: a server that is missing must not take the
        others with it.

        Raises:
            Unavailable: none of the names is known.
        """
        if len(self.targets) == 1:
            return self.targets[0]
        found = [address for target in self.targets for address in _look_up(*_split(target))]
        if not found:
            raise Unavailable(f"no server is known as {self}: check the names")
        return _literal_target(list(dict.fromkeys(found)))


def addresses_from(target: str | Sequence[str]) -> Addresses:
    """Checks what a caller named.

    Args:
        target: `HOST:PORT`, any gRPC target such as `dns:///linnaeus:8001`, or a sequence of `HOST:PORT`.

    Raises:
        ValueError: it names no server; says why.
    """
    if isinstance(target, str) or not isinstance(target, Sequence):
        return Addresses((check_target(target),))
    if len(target) == 0:
        raise ValueError("the list of servers is empty: name at least one, such as localhost:8001")
    if len(target) == 1:
        return addresses_from(target[0])
    return Addresses(tuple(check_host_and_port(each) for each in target))


def _split(address: str) -> tuple[str, str]:
    """The host without its brackets, and the port, which may be missing in a gRPC target."""
    if address.startswith("["):
        host, _, port = address[1:].partition("]")
        return host, port.removeprefix(":")
    host, _, port = address.partition(":")
    return host, port


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_literal(host) and ipaddress.ip_address(host).is_loopback)


def _look_up(host: str, port: str) -> list[tuple[str, str]]:
    """Every address of a host, in the system's order; none where nobody knows it."""
    if _is_literal(host):
        return [(host, port)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return [(str(socket_address[0]), port) for *_, socket_address in found]


def _literal_target(addresses: list[tuple[str, str]]) -> str:
    """One scheme holds one family: beside IPv6, an IPv4 address is written in its mapped form (RFC 4291, 2.5.5.2)."""
    if not any(":" in host for host, _ in addresses):
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in addresses)
    mapped = ((host if ":" in host else f"::ffff:{host}", port) for host, port in addresses)
    return "ipv6:" + ",".join(f"[{host}]:{port}" for host, port in mapped)
