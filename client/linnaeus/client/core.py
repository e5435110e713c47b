"""What both clients share: how a request is made, how long it may take, and what a failure means.

Owns no channel and makes no call, so that it can be tested, and used from any thread, without a server.
"""

from dataclasses import dataclass

import grpc

from linnaeus.client.errors import InvalidRequest, LinnaeusError
from linnaeus.client.images import ImageSource, image_message
from linnaeus.client.sizes import MEBIBYTE, require_room
from linnaeus.client.statuses import error_from
from linnaeus.client.targets import check_target, check_timeout
from linnaeus.v1 import classifier_pb2 as messages

DEFAULT_TARGET = "localhost:8001"
DEFAULT_TIMEOUT_SECONDS = 30.0
DEFAULT_MAX_MESSAGE_BYTES = 32 * MEBIBYTE
# A model's labels come in one message: a low limit for pictures must not cut them off.
_LEAST_RECEIVED_BYTES = 4 * MEBIBYTE


@dataclass(frozen=True, slots=True)
class Core:
    """One client's settings, and what follows from them.

    Attributes:
        target: the server's address, `HOST:PORT` or any gRPC target.
        timeout_seconds: how long a call may take that says nothing else.
        max_message_bytes: the largest request; a larger one is refused before it is sent.
    """

    target: str
    timeout_seconds: float
    max_message_bytes: int

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
            ValueError: one of them makes no sense.
        """
        check_target(self.target)
        check_timeout(self.timeout_seconds)
        if not isinstance(self.max_message_bytes, int) or self.max_message_bytes <= 0:
            raise ValueError(f"max_message_bytes must be a number above 0, not {self.max_message_bytes!r}")

    @property
    def channel_options(self) -> list[tuple[str, int]]:
        """What gRPC is told about the connection."""
        return [
            ("grpc.max_send_message_length", self.max_message_bytes),
            ("grpc.max_receive_message_length", max(self.max_message_bytes, _LEAST_RECEIVED_BYTES)),
            # A proxy set for the web in the environment must not catch calls to a service next door.
            ("grpc.enable_http_proxy", 0),
        ]

    def call_timeout(self, timeout_seconds: float | None) -> float:
        """The seconds one call may take: its own, else the client's.

        Raises:
            ValueError: its own make no sense.
        """
        return check_timeout(self.timeout_seconds if timeout_seconds is None else timeout_seconds)

    def classify_request(
        self, image: ImageSource, *, model: str, version: int | str | None, top_k: int, image_id: str
    ) -> messages.ClassifyRequest:
        """Makes a request that fits into one message.

        Raises:
            InvalidImage: the picture cannot be read or is too large.
            InvalidRequest: another argument does not fit its field.
        """
        picture = image_message(image, image_id=_text("image_id", image_id), limit_bytes=self.max_message_bytes)
        request = messages.ClassifyRequest(
            image=picture, model=_text("model", model), version=_version(version), top_k=_top_k(top_k)
        )
        require_room(request.ByteSize(), self.max_message_bytes)
        return request

    def model_request(self, model: str, version: int | str | None) -> messages.GetModelRequest:
        """Makes a request for one model version.

        Raises:
            InvalidRequest: an argument does not fit its field.
        """
        return messages.GetModelRequest(model=_text("model", model), version=_version(version))

    def error(self, failure: grpc.RpcError, timeout_seconds: float | None) -> LinnaeusError:
        """Makes the error a caller sees; raise it `from None`, it says all there is to say."""
        return error_from(failure, target=self.target, timeout_seconds=self.call_timeout(timeout_seconds))


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


def _top_k(top_k: int) -> int:
    if not isinstance(top_k, int) or isinstance(top_k, bool) or not 0 <= top_k < 2**31:
        raise InvalidRequest(f"top_k must be a whole number from 0, where 0 leaves it to the server, not {top_k!r}")
    return top_k
