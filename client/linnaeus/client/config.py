"""What both clients share: how a request is made, how long it may take, and what a failure means.

Owns no channel and makes no call, so that it can be tested, and used from any thread, without a server.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import grpc

from linnaeus.client.errors import InvalidRequest, LinnaeusError
from linnaeus.client.images.image_source import ImageSource, image_message
from linnaeus.client.protocol.error_mapping import error_from, error_from_image, late_error
from linnaeus.client.transport.addresses import Addresses, addresses_from
from linnaeus.client.transport.channel_options import ChannelOptions, channel_options
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.hedging import HedgeCounts, Hedger, Hedging, hedging_from
from linnaeus.client.transport.message_limit import USUAL_MESSAGE_BYTES, MessageLimit
from linnaeus.client.transport.message_size import require_room
from linnaeus.client.transport.targets import check_timeout
from linnaeus.client.transport.tls import Tls, call_metadata, tls_from
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_TARGET = "localhost:8001"
DEFAULT_TIMEOUT_SECONDS = 30.0
# A large model on a busy machine: the server goes on anyway, whoever gives up only learns less.
LOAD_TIMEOUT_SECONDS = 600.0
DEFAULT_MAX_MESSAGE_BYTES = USUAL_MESSAGE_BYTES

_PRIORITIES = {
    "high": messages.PRIORITY_HIGH,
    "normal": messages.PRIORITY_NORMAL,
    "low": messages.PRIORITY_LOW,
}


@dataclass(frozen=True, slots=True)
class Core:
    """One client's settings, and what follows from them.

    Attributes:
        addresses: the servers.
        timeout_seconds: how long a call may take that says nothing else.
        limit: how large a request may be, as far as it is known.
        channel_options: what gRPC is told about the connection.
        credentials: None for a plain connection.
        metadata: goes with every call; holds the token.
        hedger: None where no call is made twice.
    """

    addresses: Addresses
    timeout_seconds: float
    limit: MessageLimit
    channel_options: ChannelOptions
    credentials: grpc.ChannelCredentials | None
    metadata: tuple[tuple[str, str], ...] = field(repr=False)
    hedger: Hedger | None

    @property
    def hedges(self) -> HedgeCounts:
        """What hedging did so far; zeros without hedging."""
        return HedgeCounts() if self.hedger is None else self.hedger.counts

    def call_timeout(self, timeout_seconds: float | None) -> float:
        """The seconds one call may take: its own, else the client's.

        Raises:
            ValueError: its own make no sense.
        """
        return check_timeout(self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    def deadline(self, timeout_seconds: float | None) -> Deadline:
        """When a call that begins now must have ended.

        Raises:
            ValueError: its own seconds make no sense.
        """
        return Deadline.after(self.call_timeout(timeout_seconds))

    def must_ask_limit(self, request: messages.ClassifyRequest) -> bool:
        """Whether the server must tell what it takes before this is sent."""
        return self.limit.must_ask(request.ByteSize())

    def learn_limit(self, told: messages.ListModelsResponse | None) -> None:
        """Keeps what the server takes at most; None where it knows no such question."""
        limits = messages.ServerLimits() if told is None else told.limits
        self.limit.tell(limits.max_message_bytes, limits.max_batch_images)

    def require_room(self, request: messages.ClassifyRequest) -> None:
        """Checks a request against what is known by now.

        Raises:
            InvalidImage: it is too large.
        """
        require_room(request.ByteSize(), self.limit.bytes)

    def classify_request(
        self,
        image: ImageSource,
        *,
        model: str,
        version: int | str | None,
        top_k: int,
        priority: str | None,
        image_id: str,
    ) -> messages.ClassifyRequest:
        """Makes a request that fits into one message.

        Raises:
            InvalidImage: the picture cannot be read or is too large.
            InvalidRequest: another argument does not fit its field.
        """
        picture = image_message(image, image_id=_text("image_id", image_id), limit_bytes=self.limit.bytes)
        request = messages.ClassifyRequest(
            image=picture,
            model=_text("model", model),
            version=_version(version),
            top_k=_top_k(top_k),
            priority=_priority(priority),
        )
        self.require_room(request)
        return request

    def model_request(self, model: str, version: int | str | None) -> messages.GetModelRequest:
        """Makes a request for one model version.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.GetModelRequest(model=_text("model", model), version=_version(version))

    def load_request(self, model: str) -> messages.LoadModelRequest:
        """Makes a request to load a model.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.LoadModelRequest(model=_text("model", model))

    def reload_request(self, model: str) -> messages.ReloadModelRequest:
        """Makes a request to load a model anew.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.ReloadModelRequest(model=_text("model", model))

    def unload_request(self, model: str, version: int | str | None) -> messages.UnloadModelRequest:
        """Makes a request to unload a version, or all.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.UnloadModelRequest(model=_text("model", model), version=_version(version))

    def default_request(self, model: str, version: int | str | None) -> messages.SetDefaultVersionRequest:
        """Makes a request that says which version answers calls that name none.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.SetDefaultVersionRequest(model=_text("model", model), version=_version(version))

    def error(self, failure: grpc.RpcError, deadline: Deadline) -> LinnaeusError:
        """Makes the error a caller sees; raise it `from None`, it says all there is to say."""
        return error_from(failure, target=str(self.addresses), timeout_seconds=deadline.seconds)

    def stream_error(self, failure: grpc.RpcError, timeout_seconds: float) -> LinnaeusError:
        """Makes the error of every picture that a stream left without an answer."""
        return error_from(failure, target=str(self.addresses), timeout_seconds=timeout_seconds)

    def late(self, timeout_seconds: float) -> LinnaeusError:
        """Makes the error of a picture of a stream whose time is over."""
        return late_error(target=str(self.addresses), timeout_seconds=timeout_seconds)

    def image_error(self, error: messages.ImageError, timeout_seconds: float) -> LinnaeusError:
        """Makes the error of one picture among many."""
        return error_from_image(error, target=str(self.addresses), timeout_seconds=timeout_seconds)


def core_from(
    target: str | Sequence[str],
    *,
    timeout_seconds: float,
    max_message_bytes: int | None,
    tls: Tls | bool,
    token: str | None,
    hedging: Hedging | bool,
) -> Core:
    """Checks a client's settings; see `linnaeus.client.sync.client.Client` for what they mean.

    Raises:
        ValueError: one of them makes no sense.
    """
    addresses, limit, encryption = addresses_from(target), MessageLimit(max_message_bytes), tls_from(tls)
    settings = hedging_from(hedging)
    return Core(
        addresses=addresses,
        timeout_seconds=check_timeout(timeout_seconds),
        limit=limit,
        channel_options=channel_options(addresses, limit, encryption),
        credentials=None if encryption is None else encryption.credentials(),
        metadata=call_metadata(token, addresses, encryption),
        hedger=None if settings is None else Hedger(settings),
    )


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise InvalidRequest(f"{name} must be a string, not {value!r}")
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise InvalidRequest(f"{name} must be text that UTF-8 can hold, not {value!r}")
    return value


def _version(version: int | str | None) -> str:
    """The version as the contract has it; a string is the server's to judge."""
    if version is None:
        return ""
    if isinstance(version, str):
        return _text("version", version)
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise InvalidRequest(f"version must be a whole number from 1, or None for the latest, not {version!r}")
    return str(version)


def _priority(priority: str | None) -> messages.Priority:
    """The priority as the contract has it; none leaves it to the server, for which that is normal."""
    if priority is None:
        return messages.PRIORITY_UNSPECIFIED
    if priority not in _PRIORITIES:
        raise InvalidRequest(f"priority must be high, normal or low, or None for normal, not {priority!r}")
    return _PRIORITIES[priority]


def _top_k(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 0 <= top_k < 2**31:
        raise InvalidRequest(f"top_k must be a whole number from 0, where 0 leaves it to the server, not {top_k!r}")
    return top_k
