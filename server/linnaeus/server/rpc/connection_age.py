"""The maximum age of connections.

A client that balances over several servers resolves their names only when it connects, so without a maximum age a
connection would never reach servers that were added later.
"""

# gRPC's options are 32-bit integers of milliseconds; the largest is practically no limit.
_MAX_MILLISECONDS = 2**31 - 1


def connection_age_options(max_age_seconds: float, grace_seconds: float) -> list[tuple[str, int]]:
    """Returns the gRPC options that close old connections gracefully: GOAWAY comes first, so that no call is lost.

    gRPC varies the age by a tenth either way, so that clients that connected together do not reconnect together.

    Args:
        max_age_seconds: the age from which a connection takes no new calls; 0 for no limit.
        grace_seconds: the time after that until the connection's remaining calls are cancelled; 0 for no limit.
    """
    options = {
        "grpc.max_connection_age_ms": max_age_seconds,
        "grpc.max_connection_age_grace_ms": grace_seconds,
    }
    return [(name, _milliseconds(seconds)) for name, seconds in options.items() if seconds]


def _milliseconds(seconds: float) -> int:
    """Converts to milliseconds, at least 1: 0 would close a connection before its first call."""
    return min(max(round(seconds * 1000), 1), _MAX_MILLISECONDS)
