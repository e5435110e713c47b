"""What gRPC is told about a connection: which failures are tried again, how servers take turns, when a peer is dead.

Policy only: it opens no channel and knows no call. gRPC itself acts on it, for the blocking and the asyncio client
alike. The retries are specified at https://github.com/grpc/proposal/blob/master/A6-client-retries.md, the health checks
at https://github.com/grpc/proposal/blob/master/A17-client-side-health-checking.md
"""

import json
from typing import Any

from linnaeus.client.transport.addresses import Addresses
from linnaeus.client.transport.message_limit import LARGEST_MESSAGE_BYTES, MessageLimit
from linnaeus.client.transport.message_size import MEBIBYTE
from linnaeus.client.transport.tls import Tls

ChannelOptions = list[tuple[str, int | str]]

# A model's labels come in one message: a low limit for pictures must not cut them off.
_LEAST_RECEIVED_BYTES = 4 * MEBIBYTE
# Beside the message, gRPC keeps a call's metadata for a retry.
_METADATA_ROOM_BYTES = 64 * 1024

# Refused, or lost with its connection; asking again is safe because naming a picture changes nothing. A stopping gRPC
# server ends what it has received but not begun with CANCELLED; what its own caller cancels is never tried again.
# gRPC waits as long as `grpc-retry-pushback-ms` says and does not try again where that is negative; without it, about
# the backoff. At most three more attempts (gRPC allows four): a server that is gone is reported within a second.
_RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED"],
}
# A failure takes one token, an answer gives a tenth back, below half there are no retries: servers in trouble are not
# asked four times as much. 1000 is gRPC's largest; 500 calls in flight at a server that dies are still all tried again.
_THROTTLING = {"maxTokens": 1000, "tokenRatio": 0.1}


def service_config(*, several: bool) -> str:
    """Returns the policy as gRPC reads it.

    Args:
        several: servers take turns, and one that says NOT_SERVING sits out. A single server is always asked, since its
            own refusal says more than an empty rotation.
    """
    config: dict[str, Any] = {
        "methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}],
        "retryThrottling": _THROTTLING,
    }
    if several:
        config |= {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}
    return json.dumps(config)


def channel_options(addresses: Addresses, limit: MessageLimit, tls: Tls | None) -> ChannelOptions:
    """Returns what a channel to these servers is made with."""
    largest = limit.own_bytes or LARGEST_MESSAGE_BYTES
    return [
        ("grpc.service_config", service_config(several=addresses.may_be_several)),
        # A TXT record in the DNS must not change what is tried again.
        ("grpc.service_config_disable_resolution", 1),
        # By default a request above 256 KiB is silently never tried again.
        ("grpc.per_rpc_retry_buffer_size", largest + _METADATA_ROOM_BYTES),
        # Requests are measured before they are sent, with a better sentence: see `limits`.
        ("grpc.max_send_message_length", -1),
        ("grpc.max_receive_message_length", max(largest, _LEAST_RECEIVED_BYTES)),
        # A proxy set for the web in the environment must not catch calls to a service next door.
        ("grpc.enable_http_proxy", 0),
        *_KEEPALIVE,
        *_reconnecting(),
        *_names(addresses, tls),
    ]


# A peer that is gone without a word is noticed within 15 s of a call's silence, in time for a retry within the default
# deadline. Pings go only while calls are open, and gRPC's own bound of two without data between them stays: servers
# that know nothing of this client are not flooded.
_KEEPALIVE: ChannelOptions = [
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 0),
]


def _reconnecting() -> ChannelOptions:
    """A server that comes back is found within 10 s; gRPC's own bound is two minutes."""
    return [("grpc.initial_reconnect_backoff_ms", 500), ("grpc.max_reconnect_backoff_ms", 10_000)]


def _names(addresses: Addresses, tls: Tls | None) -> ChannelOptions:
    """Under which name the servers are addressed, where the target itself is none.

    Several addresses in one target would all stand in the `:authority` of every call, which proxies refuse.
    """
    if tls is not None and tls.server_name is not None:
        return [("grpc.ssl_target_name_override", tls.server_name), ("grpc.default_authority", tls.server_name)]
    if len(addresses.targets) > 1:
        return [("grpc.default_authority", addresses.targets[0])]
    return []
