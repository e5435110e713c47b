"""The options of a gRPC channel: message limits, keepalive, reconnection, names. `retry_policy` has the retries."""

from linnaeus.client.transport.addresses import Addresses
from linnaeus.client.transport.message_size import MAX_MESSAGE_BYTES, MEBIBYTE, MessageLimit
from linnaeus.client.transport.retry_policy import service_config
from linnaeus.client.transport.tls import Tls

ChannelOptions = list[tuple[str, int | str]]

# A model's labels come in one message: a low limit for images must not exclude them.
_MIN_RECEIVED_BYTES = 4 * MEBIBYTE
# For a retry, gRPC keeps a call's metadata beside the message.
_RETRY_METADATA_BYTES = 64 * 1024

# A peer that is gone without closing the connection is noticed within 15 s of a call's silence, in time for a retry
# within the default timeout. gRPC's defaults stay: pings are sent only while calls are open, and only two without data
# between them, so that servers that know nothing of this client are not flooded. The keepalive timeout becomes the
# kernel's TCP_USER_TIMEOUT, for a machine that is gone; the ping's, by default a minute, is for a process that stands
# still.
_KEEPALIVE: ChannelOptions = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),
]
# A server that comes back is found within 10 s; gRPC's default is two minutes.
_RECONNECTION: ChannelOptions = [
    ("grpc.initial_reconnect_backoff_ms", 500),
    ("grpc.max_reconnect_backoff_ms", 10_000),
]


def channel_options(addresses: Addresses, limit: MessageLimit, tls: Tls | None) -> ChannelOptions:
    """Returns the options of a channel to these servers."""
    max_bytes = limit.client_bytes or MAX_MESSAGE_BYTES
    return [
        ("grpc.service_config", service_config(several=addresses.may_be_several)),
        # A TXT record in the DNS must not change what is retried.
        ("grpc.service_config_disable_resolution", 1),
        # By default a request above 256 KiB is silently never retried.
        ("grpc.per_rpc_retry_buffer_size", max_bytes + _RETRY_METADATA_BYTES),
        # gRPC limits no request; `message_size` checks them before they are sent.
        ("grpc.max_receive_message_length", max(max_bytes, _MIN_RECEIVED_BYTES)),
        # Without this, channels with equal options share one connection.
        ("grpc.use_local_subchannel_pool", 1),
        # A proxy set for the web in the environment must not intercept calls to a service next door.
        ("grpc.enable_http_proxy", 0),
        *_KEEPALIVE,
        *_RECONNECTION,
        *authority_options(addresses, tls),
    ]


def authority_options(addresses: Addresses, tls: Tls | None) -> ChannelOptions:
    """Returns the name under which the servers are called, if the target itself cannot serve as one.

    By default all addresses of a target are in the `:authority` of every call, which proxies reject.
    """
    if tls is not None and tls.server_name is not None:
        return [("grpc.ssl_target_name_override", tls.server_name), ("grpc.default_authority", tls.server_name)]
    if len(addresses.targets) > 1:
        return [("grpc.default_authority", addresses.targets[0])]
    return []
