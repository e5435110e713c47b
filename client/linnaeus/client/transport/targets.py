"""Checks of a server's address: `HOST:PORT`, or a gRPC target with a scheme such as `dns:` or `unix:`."""

import re

# https://github.com/grpc/grpc/blob/master/doc/naming.md
_SCHEMES = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p"})
_SCHEME = re.compile(r"(?P<scheme>[a-z0-9-]+):(?P<rest>.+)")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")
_MAX_PORT = 65_535


def check_target(target: str) -> str:
    """Returns the target if gRPC may be able to resolve it.

    Args:
        target: `HOST:PORT`, or any gRPC target such as `unix:/run/linnaeus.sock` or `dns:///linnaeus:8001`.

    Raises:
        ValueError: if it is not an address of a server. The message says why.
    """
    if isinstance(target, str) and target_scheme(target):
        return target
    return check_host_and_port(target)


def target_scheme(target: str) -> str | None:
    """Returns a gRPC target's scheme; None for `HOST:PORT`."""
    match = _SCHEME.fullmatch(target)
    return match["scheme"] if match is not None and match["scheme"] in _SCHEMES else None


def check_host_and_port(target: str) -> str:
    """Returns the address if it is `HOST:PORT`.

    Raises:
        ValueError: if it is not. The message says why.
    """
    if not isinstance(target, str):
        raise ValueError(f"the server's address must be HOST:PORT, such as localhost:8001, not {target!r}")
    if "://" in target:
        raise ValueError(f"the server's address is HOST:PORT without a scheme, such as localhost:8001, not {target!r}")
    match = _HOST_AND_PORT.fullmatch(target)
    if match is None:
        hint = "; an IPv6 address stands in brackets, as in [::1]:8001" if target.count(":") > 1 else ""
        raise ValueError(f"the server's address must be HOST:PORT, such as localhost:8001, not {target!r}{hint}")
    if not 1 <= int(match["port"]) <= _MAX_PORT:
        raise ValueError(f"the port in {target!r} must be from 1 to {_MAX_PORT}")
    return target
