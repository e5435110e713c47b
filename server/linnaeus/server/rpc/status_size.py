"""The size of statuses: every one fits into 4 KiB of metadata. Pure functions.

A client of gRPC's C core accepts 8 KiB of metadata, others less or more. A status beyond that is lost: the client
reports RESOURCE_EXHAUSTED instead, which it may retry. The status has the message twice, once with the bytes beyond
ASCII as %XX, and its details in base64.
"""

from collections.abc import Iterator

from google.protobuf import any_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

MAX_METADATA_BYTES = 4096
# The message, as %XX and as it is, and a third more for base64: 768 + 4/3 * (768 + 1500 + type names) + keys < 4096.
MAX_MESSAGE_BYTES = 768
MAX_DETAIL_BYTES = 1500
_ELLIPSIS = "…"
_MIN_TEXT_BYTES = 64


def shortened(text: str, max_bytes: int) -> str:
    """Returns the text; if it is larger than `max_bytes` as gRPC sends it, its beginning and an ellipsis."""
    if (text.isascii() and len(text) * 3 <= max_bytes) or _sent_bytes(text) <= max_bytes:  # %XX has three letters
        return text
    left = max_bytes - _sent_bytes(_ELLIPSIS)
    end = 0
    for end, character in enumerate(text):  # noqa: B007  # used below
        left -= _sent_bytes(character)
        if left < 0:
            break
    return text[:end].rstrip() + _ELLIPSIS


def bounded_detail(detail: Message, max_bytes: int) -> list[any_pb2.Any]:
    """Returns the packed detail, with the last items of its lists and the ends of its texts left out as far as needed.

    A detail that is too large even then is left out.
    """
    text_bytes = max_bytes // 2
    while detail.ByteSize() > max_bytes and text_bytes >= _MIN_TEXT_BYTES:
        _shorten_texts(detail, text_bytes)
        text_bytes //= 2
        if detail.ByteSize() > max_bytes:
            _shorten_lists(detail)
    if detail.ByteSize() > max_bytes:
        return []
    name = f"type.googleapis.com/{detail.DESCRIPTOR.full_name}"
    return [any_pb2.Any(type_url=name, value=detail.SerializeToString())]


def _sent_bytes(text: str) -> int:
    """Returns the size of a text in gRPC's encoding of status messages (RFC 3986, section 2.1)."""
    return sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in text.encode("utf-8", "replace"))


def _messages(message: Message) -> Iterator[Message]:
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE and not _is_map(field):
            for each in value if _is_list(field) else [value]:
                yield from _messages(each)


def _shorten_texts(detail: Message, max_bytes: int) -> None:
    for message in _messages(detail):
        for field, value in message.ListFields():
            if field.type == FieldDescriptor.TYPE_STRING and not _is_list(field):
                setattr(message, field.name, shortened(value, max_bytes))


def _shorten_lists(detail: Message) -> None:
    """Leaves out the second half of each list."""
    for message in _messages(detail):
        for field, value in message.ListFields():
            if _is_list(field) and not _is_map(field) and len(value) > 1:
                del value[len(value) // 2 :]


def _is_list(field: FieldDescriptor) -> bool:
    return field.is_repeated


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
