"""Errors of requests cross the link unchanged."""

import msgspec
import pytest

from linnaeus.server import errors
from linnaeus.server.errors import RequestError
from linnaeus.server.link.messages import PackedError
from linnaeus.server.link.packed_errors import pack_error, unpack_error

EXAMPLES: list[RequestError] = [
    errors.InvalidArgument("top_k", "top_k is wrong"),
    errors.InvalidImage("image.encoded", "no picture"),
    errors.ModelNotFound("m/3", "there is no m/3"),
    errors.Unauthenticated("no token"),
    errors.PermissionDenied("no right", "models"),
    errors.Overloaded("full", 0.25),
    errors.DeadlineExceeded("too late", 0.5, 1.5),
    errors.Unavailable("loading", 1.0),
    errors.VersionReplaced("loaded anew", 1.0),
    errors.NotLoaded("refused", {"m/1": "no labels"}),
    errors.InternalFailure("failed", "abc"),
]


def all_kinds(kind: type[RequestError] = RequestError) -> set[type[RequestError]]:
    """Returns the kinds that the core may raise; those of decoders never cross the link."""
    own = {kind} if kind.__module__ == errors.__name__ else set()
    return own | {each for child in kind.__subclasses__() for each in all_kinds(child)}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_is_equal_on_the_other_side(error: RequestError) -> None:
    packed = msgspec.msgpack.decode(msgspec.msgpack.encode(pack_error(error)), type=PackedError)
    unpacked = unpack_error(packed)
    assert type(unpacked) is type(error)
    assert (str(unpacked), vars(unpacked)) == (str(error), vars(error))


def test_every_kind_of_error_is_tried() -> None:
    assert {type(error) for error in EXAMPLES} == all_kinds() - {RequestError}
