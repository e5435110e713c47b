"""Everything that can go wrong, said once, without gRPC and without torch.

    LinnaeusError
    ├── StartupError             the server cannot start: settings, ports, repository
    ├── ModelRefused             a version folder fails a check and is not served
    └── RequestError             one call gets no answer
        ├── InvalidArgument      a field of the request is at fault
        │   └── InvalidImage     the picture is
        ├── ModelNotFound        no such model or version
        ├── Unauthenticated      nobody knows who calls
        ├── PermissionDenied     the caller is known, and may not do this
        ├── Overloaded           the queue is full, or the caller asks too often
        ├── DeadlineExceeded     the answer would come too late
        ├── Unavailable          the model is loading or the server is stopping
        ├── NotLoaded            what was to be loaded was refused
        └── InternalFailure      our fault; the log knows more

A message is one sentence for the caller: what was wrong, where, and what to do.
"""

from collections.abc import Mapping


class LinnaeusError(Exception):
    """The root of the tree."""


class StartupError(LinnaeusError):
    """The server cannot start."""


class ModelRefused(LinnaeusError):
    """A version folder fails a check; the message names the file and the field."""


class RequestError(LinnaeusError):
    """One call gets no answer; the others are not touched."""


class InvalidArgument(RequestError):
    """A field of the request is at fault.

    Attributes:
        field: the field's path in the request message, such as `image.pixels.data`.
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class InvalidImage(InvalidArgument):
    """The picture cannot be decoded, is too large, or does not fit its declared shape."""


class ModelNotFound(RequestError):
    """No such model or version.

    Attributes:
        resource: what was asked for, as `model` or `model/version`.
    """

    def __init__(self, resource: str, message: str) -> None:
        super().__init__(message)
        self.resource = resource


class Unauthenticated(RequestError):
    """The call carries no token, or one that the server does not know."""


class PermissionDenied(RequestError):
    """The caller's token does not give the right that the call needs.

    Attributes:
        right: the one that is missing.
    """

    def __init__(self, message: str, right: str) -> None:
        super().__init__(message)
        self.right = right


class Overloaded(RequestError):
    """The model's queue is full, or the caller asks more often than it may.

    Attributes:
        retry_after_seconds: when what is waiting now will have been answered, or the caller may ask again.
    """

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(RequestError):
    """The answer would come after the caller's deadline.

    Attributes:
        late_by_seconds: by how much.
        wait_seconds: how long the answer would still have taken when the request was given up.
    """

    def __init__(self, message: str, late_by_seconds: float, wait_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.late_by_seconds = late_by_seconds
        self.wait_seconds = wait_seconds


class Unavailable(RequestError):
    """The model is not ready yet, or the server takes no new calls.

    Attributes:
        retry_after_seconds: when to try again, here or at another server.
    """

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotLoaded(RequestError):
    """What was to be loaded was refused; what was served before is served still.

    Attributes:
        refusals: why, by what was refused: `model/version`, or a model's `config.toml`.
    """

    def __init__(self, message: str, refusals: Mapping[str, str]) -> None:
        super().__init__(message)
        self.refusals = dict(refusals)


class InternalFailure(RequestError):
    """Our fault.

    Attributes:
        reference: an identifier to find in the log.
    """

    def __init__(self, message: str, reference: str) -> None:
        super().__init__(message)
        self.reference = reference
