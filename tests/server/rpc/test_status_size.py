"""Every status fits into 4 KiB of metadata, and what is cut is marked."""

import base64

import pytest
from google.rpc import error_details_pb2

from linnaeus.server.errors import (
    InternalFailure,
    InvalidArgument,
    ModelNotFound,
    NotLoaded,
    Overloaded,
    PermissionDenied,
    RequestError,
    Unavailable,
)
from linnaeus.server.rpc.status import to_status
from linnaeus.server.rpc.status_size import MAX_METADATA_BYTES, shortened

LONG = "x" * 100_000
WIDE = "\N{FOX FACE}" * 25_000
ERRORS = [
    *(InvalidArgument(field, text) for field in ("field", LONG) for text in (LONG, WIDE, "\x00" * 9_000, "%" * 9_000)),
    ModelNotFound(WIDE, LONG),
    NotLoaded(LONG, {f"model-{number}": f"reason {number} " * 20 for number in range(400)}),
    NotLoaded("refused", {LONG: WIDE}),
    PermissionDenied(LONG, LONG),
    Overloaded(LONG, 1e9),
    Unavailable(WIDE, 1.0),
    InternalFailure(LONG, LONG),
]


def sent_bytes(error: RequestError) -> int:
    """Returns the size of a status as RFC 7541, 4.1 counts it: 32 bytes for each entry besides its name and value."""
    code, message, metadata = to_status(error)
    percent = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in message.encode())
    entries = {"grpc-message": percent, "grpc-status": len(str(code.value[0]))}
    for key, value in metadata:
        entries[key] = len(base64.b64encode(value)) if isinstance(value, bytes) else len(value)
    return sum(32 + len(key) + size for key, size in entries.items())


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_status_fits_into_4_kib(error: RequestError) -> None:
    assert sent_bytes(error) <= MAX_METADATA_BYTES
    assert to_status(error).details[-1:] in ("…", "d")


def test_a_long_list_of_refusals_keeps_its_first_entries() -> None:
    status = to_status(NotLoaded("refused", {f"model-{number}": f"reason {number}" for number in range(400)}))
    packed = dict(status.trailing_metadata)["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    assert b"model-0" in packed and b"model-3" in packed and b"model-399" not in packed


def test_a_short_status_is_sent_as_it_is() -> None:
    error = ModelNotFound("m/1", "there is no model m")
    assert to_status(error).details == "there is no model m"


@pytest.mark.parametrize("text", ["", "short", "x" * 100, "\N{FOX FACE}" * 8])
def test_a_text_within_its_limit_is_not_changed(text: str) -> None:
    assert shortened(text, 100) == text


def test_a_longer_text_ends_with_an_ellipsis_within_the_limit() -> None:
    assert shortened("x" * 101, 100) == "x" * 91 + "…"
    assert shortened("\N{FOX FACE}" * 9, 100) == "\N{FOX FACE}" * 7 + "…"


def test_the_details_of_a_shortened_error_name_its_field() -> None:
    packed = dict(to_status(InvalidArgument("top_k", LONG)).trailing_metadata)["grpc-status-details-bin"]
    assert isinstance(packed, bytes) and b"top_k" in packed
    assert error_details_pb2.BadRequest.DESCRIPTOR.full_name.encode() in packed
