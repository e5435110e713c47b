"""How the outcome of a call travels from a replica to the proxy, through Ray.

Ray carries the bytes of an answer, but of an error only the code and the text, and it logs the traceback of each. So a
failed call is an answer to Ray, whose first byte no protobuf message has: 0 would be the tag of field number 0, which
is not allowed.
"""

import pickle
from typing import Any

import grpc

from linnaeus.server.rpc.status import Status

_FAILURE = b"\0"


class Outcome:
    """The bytes of an answer, or of a status; Ray calls `SerializeToString` as for any message.

    Args:
        content: the bytes.
    """

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def SerializeToString(self) -> bytes:  # noqa: N802 - as of protobuf
        """Returns the bytes."""
        return self._content


class CallAborted(grpc.aio.AbortError):
    """Ends a call with a status.

    Args:
        status: code, text and trailing metadata.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self.status = status


def failure(status: Status) -> Outcome:
    """Returns the outcome of a call that failed."""
    return Outcome(_FAILURE + pickle.dumps((status.code.value[0], status.details, status.trailing_metadata)))


def read_failure(content: Any) -> Status | None:
    """Returns the status that a failed call's outcome has; None for an answer."""
    if not isinstance(content, bytes) or not content.startswith(_FAILURE):
        return None
    number, details, trailing_metadata = pickle.loads(content[1:])  # from a replica of our own, as all that Ray carries
    code = next(each for each in grpc.StatusCode if each.value[0] == number)
    return Status(code, details, trailing_metadata)
