"""The check that no two of the server's ports are the same, which would fail only when the second is opened.

HTTP and the metrics may share a port, which then has the paths of both.
"""

from collections.abc import Sequence
from itertools import combinations

_ALL_ADDRESSES = ("", "0.0.0.0", "::", "[::]")


def require_different_ports(ports: Sequence[tuple[str, str, int]]) -> None:
    """Checks that no two ports of the same address are equal. Ports below 1 are chosen at the start, or not used.

    Args:
        ports: the setting, the host and the port of each.

    Raises:
        ValueError: if two are equal; names their settings.
    """
    for (setting, host, port), (other, other_host, other_port) in combinations(ports, 2):
        if port == other_port > 0 and _overlap(host, other_host):
            raise ValueError(f"{setting} and {other} are both {port}, but must be different ports")


def is_shared(http_host: str, http_port: int, metrics_host: str, metrics_port: int) -> bool:
    """Returns whether the metrics are on the HTTP port: it is the same, and no other is meant by the hosts.

    Raises:
        ValueError: if the metrics would be reached at fewer addresses than their host says.
    """
    if not (http_port == metrics_port > 0 and _overlap(http_host, metrics_host)):
        return False
    if metrics_host in _ALL_ADDRESSES and http_host not in _ALL_ADDRESSES:
        raise ValueError(
            f"metrics_port is http_port, {http_port}, so metrics_host must be http_host, {http_host}, "
            f"not {metrics_host or 'all addresses'}"
        )
    return True


def _overlap(host: str, other: str) -> bool:
    """Returns whether both hosts share an address. Unix sockets have paths instead of ports."""
    if host.startswith("unix") or other.startswith("unix"):
        return False
    names = {"localhost": "127.0.0.1"}
    is_any = host in _ALL_ADDRESSES or other in _ALL_ADDRESSES
    return is_any or names.get(host, host) == names.get(other, other)
