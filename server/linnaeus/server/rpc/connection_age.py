"""How long connections live.

A caller that balances over several servers looks for new ones only when it connects, so a connection that lives for
ever never sees the server that was added an hour ago.
"""

# gRPC takes whole milliseconds as a 32-bit integer; beyond that there is no limit that anybody would live to see.
_LONGEST_MILLISECONDS = 2**31 - 1


def connection_age_options(max_age_seconds: float, grace_seconds: float) -> list[tuple[str, int]]:
    """Options of gRPC's that end connections in good order: GOAWAY first, so that no call is lost.

    gRPC varies the age by a tenth either way, so that callers who came together do not come back together.

    Args:
        max_age_seconds: after which a connection takes no new calls; 0 for no limit.
        grace_seconds: how long its calls may then take until they are cut off; 0 for no limit.
    """
    options = {
        "grpc.max_connection_age_ms": max_age_seconds,
        "grpc.max_connection_age_grace_ms": grace_seconds,
    }
    return [(name, _milliseconds(seconds)) for name, seconds in options.items() if seconds]


def _milliseconds(seconds: float) -> int:
    """At least 1, for 0 would end a connection before its first call."""
    return min(max(round(seconds * 1000), 1), _LONGEST_MILLISECONDS)
