"""The settings of one client, checked once, and what follows from them; shared by both clients.

Opens no channel and makes no call, so it can be tested without a server and used from any thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from linnaeus.client.errors import LinnaeusError
from linnaeus.client.protocol.error_mapping import deadline_error, error_from_image, error_from_rpc
from linnaeus.client.transport.addresses import Addresses, parse_addresses
from linnaeus.client.transport.channel_options import ChannelOptions, channel_options
from linnaeus.client.transport.connection_spread import parse_connections
from linnaeus.client.transport.deadlines import Deadline, check_timeout
from linnaeus.client.transport.hedging import HedgeCounts, Hedger, Hedging, parse_hedging
from linnaeus.client.transport.message_size import MessageLimit
from linnaeus.client.transport.refusals import RetryBudget
from linnaeus.client.transport.tls import Tls, parse_tls
from linnaeus.client.transport.tokens import call_metadata
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_TARGET = "localhost:8001"
DEFAULT_TIMEOUT_SECONDS = 30.0
# Enough for a large model on a busy machine. The server loads a model to the end even if the call times out.
LOAD_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The settings of one client.

    Attributes:
        addresses: the servers.
        timeout_seconds: the timeout of a call without one of its own.
        limit: the largest request, as far as it is known.
        channel_options: the options of the gRPC channel.
        credentials: None for a plain connection.
        metadata: sent with every call; holds the token.
        hedger: None if calls are not hedged.
        connections: how many the client may open; None for as many as the server tells.
        retry_budget: of the calls that a server refused.
    """

    addresses: Addresses
    timeout_seconds: float
    limit: MessageLimit
    channel_options: ChannelOptions
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    hedger: Hedger | None
    connections: int | None
    retry_budget: RetryBudget = field(default_factory=RetryBudget)

    @property
    def hedges(self) -> HedgeCounts:
        """What hedging has done so far; zeros without hedging."""
        return HedgeCounts() if self.hedger is None else self.hedger.counts

    def call_timeout(self, timeout_seconds: float | None) -> float:
        """Returns the timeout of a call in seconds: its own, or else the client's.

        Raises:
            ValueError: if the call's own timeout is out of range.
        """
        return check_timeout(self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    def deadline(self, timeout_seconds: float | None) -> Deadline:
        """Returns the deadline of a call that begins now.

        Raises:
            ValueError: if the call's own timeout is out of range.
        """
        return Deadline.after(self.call_timeout(timeout_seconds))

    def rpc_error(self, failure: grpc.RpcError, timeout_seconds: float) -> LinnaeusError:
        """Returns the error for a failed call. Raise it `from None`: it holds all that the failure says."""
        return error_from_rpc(failure, target=str(self.addresses), timeout_seconds=timeout_seconds)

    def image_error(self, error: messages.ImageError, timeout_seconds: float) -> LinnaeusError:
        """Returns the error for one image of a batch or a stream."""
        return error_from_image(error, target=str(self.addresses), timeout_seconds=timeout_seconds)

    def deadline_error(self, timeout_seconds: float) -> LinnaeusError:
        """Returns the error for an image of a stream whose deadline has passed."""
        return deadline_error(target=str(self.addresses), timeout_seconds=timeout_seconds)


def make_config(
    target: str | Sequence[str],
    *,
    timeout_seconds: float,
    max_message_bytes: int | None,
    tls: Tls | bool,
    token: str | None,
    hedging: Hedging | bool,
    connections: int | str,
) -> ClientConfig:
    """Checks the settings of a client; `linnaeus.client.Client` documents them.

    Raises:
        ValueError: if a setting is out of range or contradicts another.
    """
    addresses, limit, tls_settings = parse_addresses(target), MessageLimit(max_message_bytes), parse_tls(tls)
    hedging_settings = parse_hedging(hedging)
    return ClientConfig(
        addresses=addresses,
        timeout_seconds=check_timeout(timeout_seconds),
        limit=limit,
        channel_options=channel_options(addresses, limit, tls_settings),
        credentials=None if tls_settings is None else tls_settings.credentials(),
        metadata=call_metadata(token, addresses, tls_settings),
        hedger=None if hedging_settings is None else Hedger(hedging_settings),
        connections=parse_connections(connections),
    )
