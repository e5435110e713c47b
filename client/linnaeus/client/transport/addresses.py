"""The servers' addresses: what a caller may pass as the target, and the target that gRPC is given for it.

Opens no channel. gRPC has no target syntax for a list of host names, so those names are looked up here, once, when the
connection is made.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from linnaeus.client.errors import Unavailable
from linnaeus.client.transport.targets import check_host_and_port, check_target, target_scheme

_LOCAL_SCHEMES = frozenset({"unix", "unix-abstract"})
_LITERAL_SCHEMES = frozenset({"ipv4", "ipv6"})
_DEFAULT_PORT = "443"  # gRPC's, for a target without one


@dataclass(frozen=True, slots=True)
class Addresses:
    """The servers of one client.

    Attributes:
        targets: one gRPC target, or several of the form `HOST:PORT`.
    """

    targets: tuple[str, ...]

    def __str__(self) -> str:
        """The targets as the caller wrote them, for messages."""
        return ", ".join(self.targets)

    @property
    def may_be_several(self) -> bool:
        """Whether there may be more than one server: True but for one literal address, localhost or a socket file."""
        target = self.targets[0]
        if len(self.targets) > 1 or (target_scheme(target) in _LITERAL_SCHEMES and "," in target):
            return True
        return not self.are_local and not all(_is_literal(host) for host in self.hosts)

    @property
    def are_local(self) -> bool:
        """Whether requests stay on this machine."""
        if target_scheme(self.targets[0]) in _LOCAL_SCHEMES:
            return True
        return bool(self.hosts) and all(_is_loopback(host) for host in self.hosts)

    @property
    def hosts(self) -> tuple[str, ...]:
        """Host names and literal addresses without their ports; empty for a socket file."""
        scheme = target_scheme(self.targets[0])
        if scheme is None:
            return tuple(_split(target)[0] for target in self.targets)
        if scheme == "dns" or scheme in _LITERAL_SCHEMES:
            path = self.targets[0].removeprefix(f"{scheme}:").rpartition("/")[2]
            return tuple(_split(address)[0] for address in path.split(","))
        return ()

    @property
    def endpoints(self) -> tuple[tuple[str, str], ...]:
        """Host and port of each server; the path alone of a socket file; empty for a scheme of another kind."""
        target = self.targets[0]
        scheme = target_scheme(target)
        if scheme is None:
            return tuple(_split(each) for each in self.targets)
        rest = target.removeprefix(f"{scheme}:")
        if scheme == "unix":
            return ((rest.removeprefix("//"), ""),)
        if scheme == "dns" or scheme in _LITERAL_SCHEMES:
            split = (_split(address) for address in rest.rpartition("/")[2].split(","))
            return tuple((host, port or _DEFAULT_PORT) for host, port in split)
        return ()

    def grpc_target(self) -> str:
        """Returns one gRPC target for all servers. Looks up the names in a list, which may block.

        A name without an address is left out if another name has one: a missing server must not make the others
        unreachable.

        Raises:
            Unavailable: if no name has an address.
        """
        if len(self.targets) == 1:
            return self.targets[0]
        found = [address for target in self.targets for address in _look_up(*_split(target))]
        if not found:
            raise Unavailable(f"no server is known as {self}: check the names")
        return _literal_target(list(dict.fromkeys(found)))


def parse_addresses(target: str | Sequence[str]) -> Addresses:
    """Checks the target that a caller passed.

    Args:
        target: `HOST:PORT`, any gRPC target such as `dns:///linnaeus:8001`, or a sequence of `HOST:PORT`.

    Raises:
        ValueError: if it is not an address of a server. The message says why.
    """
    if isinstance(target, str) or not isinstance(target, Sequence):
        return Addresses((check_target(target),))
    if len(target) == 0:
        raise ValueError("the list of servers is empty: name at least one, such as localhost:8001")
    if len(target) == 1:
        return parse_addresses(target[0])
    return Addresses(tuple(check_host_and_port(each) for each in target))


def _split(address: str) -> tuple[str, str]:
    """Returns the host without brackets, and the port, which a gRPC target may lack."""
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
    """Returns every address of a host, in the resolver's order; empty if the name is unknown or can be none."""
    if _is_literal(host):
        return [(host, port)]
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a part of the name is empty or above 63 characters
        return []
    return [(str(socket_address[0]), port) for *_, socket_address in found]


def _literal_target(addresses: list[tuple[str, str]]) -> str:
    """Returns an `ipv4:` or `ipv6:` target.

    A scheme holds one address family: beside IPv6 addresses, an IPv4 address is written in its mapped form (RFC 4291,
    2.5.5.2).
    """
    if not any(":" in host for host, _ in addresses):
        return "ipv4:" + ",".join(f"{host}:{port}" for host, port in addresses)
    mapped = ((host if ":" in host else f"::ffff:{host}", port) for host, port in addresses)
    return "ipv6:" + ",".join(f"[{host}]:{port}" for host, port in mapped)
