"""The exceptions of the server. Independent of gRPC and torch; `rpc.status` maps them to status codes.

    LinnaeusError
    ├── StartupError             the server cannot start: settings, ports, repository
    ├── ServerFailed             the server stopped, because a part that it needs kept failing
    ├── ModelRefused             a version folder fails a check and is not served
    └── RequestError             one call gets no answer
        ├── InvalidArgument      a field of the request is invalid
        │   └── InvalidImage     the image is invalid
        ├── ModelNotFound        no such model or version
        ├── Unauthenticated      the call has no valid token
        ├── PermissionDenied     the caller's token lacks the required right
        ├── Overloaded           the queue is full, or the caller exceeds its rate limit
        ├── DeadlineExceeded     the answer would come after the deadline
        ├── Unavailable          the model is loading or the server is stopping
        │   └── VersionReplaced  the version was unloaded or loaded anew on the way to the queue
        ├── NotLoaded            a model that was to be loaded was refused
        └── InternalFailure      a fault of the server; the log has the details

A message is one sentence for the caller: what is wrong, where, and what to do.
"""

from collections.abc import Mapping


class LinnaeusError(Exception):
    """The base class of all exceptions of the server."""


class StartupError(LinnaeusError):
    """The server cannot start."""


class ServerFailed(LinnaeusError):
    """The server stopped, because a part that it needs kept failing."""


class ModelRefused(LinnaeusError):
    """A version folder fails a check; the message names the file and the field."""


class RequestError(LinnaeusError):
    """One call gets no answer; other calls are not affected."""


class InvalidArgument(RequestError):
    """A field of the request is invalid.

    Attributes:
        field: the field's path in the request message, such as `image.pixels.data`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidImage(InvalidArgument):
    """The image cannot be decoded, is too large, or does not fit its declared shape."""


class ModelNotFound(RequestError):
    """No such model or version.

    Attributes:
        resource: the requested model, as `model` or `model/version`.
    """

    def __init__(self, resource: str, message: str) -> None:
        super().__init__(message)
        self.resource = resource


class Unauthenticated(RequestError):
    """The call carries no token or an unknown token."""


class PermissionDenied(RequestError):
    """The caller's token lacks the right that the method requires.

    Attributes:
        right: the missing right.
    """

    def __init__(self, message: str, right: str) -> None:
        super().__init__(message)
        self.right = right


class Overloaded(RequestError):
    """The model's queue is full, or the caller exceeds its rate limit.

    Attributes:
        retry_after_seconds: time until the requests waiting now are answered, or until the rate limit admits the call.
    """

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(RequestError):
    """The answer would come after the caller's deadline.

    Attributes:
        late_by_seconds: time by which the answer would miss the deadline.
        wait_seconds: predicted time to the answer when the request was refused or expired.
    """

    def __init__(self, message: str, late_by_seconds: float, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.late_by_seconds = late_by_seconds
        self.wait_seconds = wait_seconds


class Unavailable(RequestError):
    """The model is not ready yet, or the server accepts no new calls.

    Attributes:
        retry_after_seconds: time to wait before a retry, at this or another server.
    """

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class VersionReplaced(Unavailable):
    """The version was unloaded or loaded anew after the request had found it."""


class NotLoaded(RequestError):
    """A model that was to be loaded was refused; the versions served before are still served.

    Attributes:
        refusals: reasons, by the refused item: `model/version`, or a model's `config.toml`.
    """

    def __init__(self, message: str, refusals: Mapping[str, str]) -> None:
        super().__init__(message)
        self.refusals = dict(refusals)


class InternalFailure(RequestError):
    """The server failed.

    Attributes:
        reference: the identifier of the log entry that has the cause.
    """

    def __init__(self, message: str, reference: str) -> None:
        super().__init__(message)
        self.reference = reference
