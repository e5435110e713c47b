"""What a client is told once, checked once: the server's address and the seconds to wait."""

import re

# https://github.com/grpc/grpc/blob/master/doc/naming.md
_SCHEMES = frozenset({"dns", "ipv4", "ipv6", "unix", "unix-abstract", "vsock", "xds", "google-c2p"})
_SCHEME = re.compile(r"(?P<scheme>[a-z0-9-]+):(?P<rest>.+)")
_HOST_AND_PORT = re.compile(r"(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65_535
# gRPC's clock overflows at about three hundred years and then calls every deadline passed.
_LONGEST_TIMEOUT_SECONDS = 366 * 24 * 3600.0


def check_target(target: str) -> str:
    """Returns the target if gRPC could make something of it.

    Args:
        target: `HOST:PORT`, or any gRPC target such as `unix:/run/linnaeus.sock` or `dns:///linnaeus:8001`.

    Raises:
        ValueError: it names no server; says why.
    """
    if isinstance(target, str) and scheme_of(target):
        return target
    return check_host_and_port(target)


def check_timeout(timeout_seconds: float) -> float:
    """Returns the timeout if it is a time one can wait.

    Raises:
        ValueError: it is not a number above 0 and at most a year.
    """
    known = isinstance(timeout_seconds, int | float) and not isinstance(timeout_seconds, bool)
    if not known or not 0 < timeout_seconds <= _LONGEST_TIMEOUT_SECONDS:
        raise ValueError(f"timeout_seconds must be above 0 and at most a year, not {timeout_seconds!r}")
    return float(timeout_seconds)


def scheme_of(target: str) -> str | None:
    """Returns a gRPC target's scheme; None where it is `HOST:PORT`."""
    match = _SCHEME.fullmatch(target)
    return match["scheme"] if match is not None and match["scheme"] in _SCHEMES else None


def check_host_and_port(target: str) -> str:
    """Returns the address if it is `HOST:PORT`.

    Raises:
        ValueError: it is not; says why.
    """
    if not isinstance(target, str):
        raise ValueError(f"the server's address must be HOST:PORT, such as localhost:8001, not {target!r}")
    if "://" in target:
        raise ValueError(f"the server's address is HOST:PORT without a scheme, such as localhost:8001, not {target!r}")
    match = _HOST_AND_PORT.fullmatch(target)
    if match is None:
        raise ValueError(f"the server's address must be HOST:PORT, such as localhost:8001, not {target!r}")
    if not 1 <= int(match["port"]) <= _LAST_PORT:
        raise ValueError(f"the port in {target!r} must be from 1 to {_LAST_PORT}")
    return target
