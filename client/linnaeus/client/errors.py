"""The exceptions that a call raises; callers need not import grpc.

    LinnaeusError
    ├── InvalidImage        the image cannot be read or decoded, or is too large
    ├── InvalidRequest      another field of the request is invalid
    ├── ModelNotFound       the server has no such model or version
    ├── ModelRefused        the server refused to load a model
    ├── Unauthenticated     the token is missing or unknown to the server
    ├── PermissionDenied    the token does not give the right to make this call
    ├── Overloaded          the server's queue is full, or the caller exceeds its rate limit: retry later
    ├── DeadlineExceeded    the answer did not come in time, or could not
    ├── Unavailable         the server cannot be reached, is loading or is stopping
    └── ServerFailure       the server failed, or is not a Linnaeus server

A message is one sentence: the server's own if it sent one, otherwise what is wrong, where, and what to do. An error in
the program rather than in the call (a malformed target, a negative timeout, a closed client) raises a ValueError or a
RuntimeError, as usual in Python.
"""

from collections.abc import Mapping
from typing import Any


class LinnaeusError(Exception):
    """The base class: a call has no answer.

    Attributes:
        details: the server's google.rpc messages, each a dict whose "type" is `BadRequest`, `RetryInfo`,
            `ResourceInfo`, `PreconditionFailure` or `ErrorInfo`. Empty if the client itself raised the error.
    """

    def __init__(self, message: str, *, details: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.details = details

    @property
    def retry_after_seconds(self) -> float | None:
        """The wait before a retry that the server suggests, in seconds from now; None if it suggests none."""
        delays = (detail.get("retry_delay_seconds") for detail in self.details)
        return next((delay for delay in delays if delay is not None), None)


class InvalidImage(LinnaeusError):
    """The image cannot be read or decoded, is too large, or does not fit its declared shape."""


class InvalidRequest(LinnaeusError):
    """A field of the request other than the image is invalid."""


class ModelNotFound(LinnaeusError):
    """The server has no such model or version."""


class ModelRefused(LinnaeusError):
    """The server refused to load a model and still serves what it served before. `details` holds the reason."""


class Unauthenticated(LinnaeusError):
    """The server requires a token; it was missing or unknown."""


class PermissionDenied(LinnaeusError):
    """The token is known but does not give the right to make this call."""


class Overloaded(LinnaeusError):
    """The server's queue is full, or the caller exceeds its rate limit; see `retry_after_seconds`.

    Attributes:
        pushback_seconds: the server's `grpc-retry-pushback-ms`, which comes before `retry_after_seconds`; negative if
            the call must not be sent again, None if the server sent none.
    """

    def __init__(
        self, message: str, *, details: tuple[Mapping[str, Any], ...] = (), pushback_seconds: float | None = None
    ) -> None:
        super().__init__(message, details=details)
        self.pushback_seconds = pushback_seconds

    @property
    def resend_after_seconds(self) -> float | None:
        """The wait before the client sends the call again, in seconds from now; None if it must not.

        A refusal without a wait is not the server's own: gRPC and proxies have the same status for what is too large.
        """
        wait_seconds = self.retry_after_seconds if self.pushback_seconds is None else self.pushback_seconds
        return None if wait_seconds is None or wait_seconds < 0 else wait_seconds


class DeadlineExceeded(LinnaeusError):
    """The answer did not come in time, or the server predicted that it would not."""


class Unavailable(LinnaeusError):
    """No server answers at the address, or the server is loading or stopping."""


class ServerFailure(LinnaeusError):
    """The server failed; the message holds an identifier that its log has, too."""
