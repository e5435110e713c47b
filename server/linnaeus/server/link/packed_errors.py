"""Packs the errors of requests for the link, and unpacks them."""

from linnaeus.server import errors
from linnaeus.server.errors import RequestError
from linnaeus.server.link.messages import PackedError


def pack_error(error: RequestError) -> PackedError:
    """Returns the error as data."""
    return PackedError(type(error).__name__, str(error), vars(error))


def unpack_error(packed: PackedError) -> RequestError:
    """Returns an equal error."""
    kind = getattr(errors, packed.kind)
    error: RequestError = kind.__new__(kind, packed.message)
    error.args = (packed.message,)
    vars(error).update(packed.fields)
    return error
