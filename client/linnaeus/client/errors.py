"""Everything a call can end with but an answer, said without gRPC.

    LinnaeusError
    ├── InvalidImage        the picture cannot be read, is too large, or is not a picture
    ├── InvalidRequest      another field of the request is at fault
    ├── ModelNotFound       no such model or version
    ├── ModelRefused        a model that was to be loaded was refused
    ├── Unauthenticated     the server does not know who calls: no token, or one it does not know
    ├── PermissionDenied    the server knows, and the caller may not do this
    ├── Overloaded          the server's queue is full, or the caller asks too often: try again later
    ├── DeadlineExceeded    the answer did not, or could not, come in time
    ├── Unavailable         the server cannot be reached, is loading or is stopping
    └── ServerFailure       the server's fault, or not a server of this kind

A message is one sentence: the server's own where the server spoke, otherwise what was wrong, where, and what to do.
A mistake in the program rather than in the call (a target that cannot be one, a timeout below zero, a closed client)
is a ValueError or a RuntimeError, as everywhere in Python.
"""

from collections.abc import Mapping
from typing import Any


class LinnaeusError(Exception):
    """The root of the tree: one call has no answer.

    Attributes:
        details: what the server added as google.rpc messages, each a plain dict whose "type" is `BadRequest`,
            `RetryInfo`, `ResourceInfo`, `PreconditionFailure` or `ErrorInfo`. Empty when the error arose on this side.
    """

    def __init__(self, message: str, *, details: tuple[Mapping[str, Any], ...] = ()) -> None:
        super().__init__(message)
        self.details = details

    @property
    def retry_after_seconds(self) -> float | None:
        """When the server suggests to try again, in seconds from now; None where it suggests nothing."""
        waits = (detail.get("retry_delay_seconds") for detail in self.details)
        return next((wait for wait in waits if wait is not None), None)


class InvalidImage(LinnaeusError):
    """The picture cannot be read, is too large, or does not fit its declared shape."""


class InvalidRequest(LinnaeusError):
    """A field of the request other than the picture is at fault."""


class ModelNotFound(LinnaeusError):
    """The server has no such model or version."""


class ModelRefused(LinnaeusError):
    """A model that was to be loaded was refused; what was served before is served still. `details` say why."""


class Unauthenticated(LinnaeusError):
    """The server asks for a token, and there was none or one that it does not know."""


class PermissionDenied(LinnaeusError):
    """The token is known, but does not give the right that the call needs."""


class Overloaded(LinnaeusError):
    """The server's queue is full, or this caller asks too often; `retry_after_seconds` says when to ask again."""


class DeadlineExceeded(LinnaeusError):
    """The answer did not come in time, or the server saw early that it could not."""


class Unavailable(LinnaeusError):
    """No server answers at the address, or the one there is loading or stopping."""


class ServerFailure(LinnaeusError):
    """The server failed; its message holds the identifier to find in its log."""
