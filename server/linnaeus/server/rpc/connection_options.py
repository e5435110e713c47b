"""gRPC's options for the connections of every port of the server: what a peer may do before anybody knows it."""

from linnaeus.server.rpc.inflation import COMPRESSION_OPTIONS

# Clients find dead servers by keepalive pings. gRPC's default allows one ping in five minutes and none without calls,
# and ends the connection, with every call on it, at the third ping that comes sooner. grpc-go and grpc-java ping every
# 10 s at most, but grpc-js and gRPC's C core as often as they are told. So a ping a second is in order, whatever the
# network delays; a flood is not.
_MIN_PING_INTERVAL_MILLISECONDS = 500
# A connection whose handshake takes longer is closed; gRPC's default is two minutes.
_HANDSHAKE_MILLISECONDS = 20_000
# Concurrent calls of one connection, above any queue or load test; a client holds further calls back.
_MAX_CONCURRENT_STREAMS = 4096


def connection_options(
    max_message_bytes: int, max_connections: int, shares_port: bool = False
) -> list[tuple[str, int]]:
    """Returns the options of a gRPC server.

    Args:
        max_message_bytes: the maximum size of a request message; gRPC refuses a larger one with RESOURCE_EXHAUSTED.
        max_connections: the maximum number of connections at a time; a further one is closed.
        shares_port: whether other servers may listen on the same port.
    """
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_allowed_incoming_connections", max_connections),
        ("grpc.so_reuseport", int(shares_port)),  # by default two servers could accidentally share a port's calls
        ("grpc.http2.min_ping_interval_without_data_ms", _MIN_PING_INTERVAL_MILLISECONDS),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.server_handshake_timeout_ms", _HANDSHAKE_MILLISECONDS),
        ("grpc.max_concurrent_streams", _MAX_CONCURRENT_STREAMS),
        # A call that is not read yet holds 64 KiB. With probing, gRPC lets it send megabytes on a fast connection. A
        # message that is read gets a window of its size either way.
        ("grpc.http2.bdp_probe", 0),
        *COMPRESSION_OPTIONS,
    ]
