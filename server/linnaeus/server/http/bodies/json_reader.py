"""JSON documents from callers, and messages of the contract from them: strict, with errors that name the field.

protobuf's own reader takes any text for base64, and its errors name classes of Python.
"""

import binascii
import json
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from linnaeus.server.errors import InvalidArgument

_Message = TypeVar("_Message", bound=Message)
_SPECIAL = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LARGEST_FLOAT = 3.4028235677973366e38  # what rounds to the largest float32
_INTEGERS = {
    FieldDescriptor.TYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.TYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.TYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.TYPE_UINT64: (0, (1 << 64) - 1),
}
_Read = Callable[[Any, str], Any]


def parse_json(body: bytes) -> Any:
    """Returns the document.

    Raises:
        InvalidArgument: if it is no JSON in UTF-8, is nested too deeply, has a key twice, NaN or an endless number.
    """
    try:
        return json.loads(body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        reason = "it is not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg}, line {error.lineno}, column {error.colno}"
    except _Refused as error:
        reason = str(error)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError:  # Python reads no integer of thousands of digits
        reason = "a number in it has too many digits"
    raise InvalidArgument("body", f"the body is no valid JSON: {reason}; correct it")


def from_json(document: Any, message: _Message) -> _Message:
    """Fills a message from a JSON object, and returns it.

    Names of fields are those of the contract, or in camel case; null stands for a field that is left out.

    Raises:
        InvalidArgument: if a field is unknown or has a wrong value; says which.
    """
    _fill(document, message, "")
    return message


class _Refused(Exception):
    """JSON that Python reads, and this server does not."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise _Refused(f"it has the key {twice!a:.60} twice")
    return read


def _no_constant(name: str) -> float:
    raise _Refused(f"{name} is no number in JSON")


def _fill(document: Any, message: Message, path: str) -> None:
    descriptor = message.DESCRIPTOR
    if not isinstance(document, dict):
        raise _wrong(path, document, f"an object, a {descriptor.name}")
    if descriptor.full_name == "google.protobuf.Any":
        _fill_any(document, message, path)
        return
    fields, set_oneofs = _fields(descriptor), dict[str, str]()
    for name, value in document.items():
        at = f"{path}.{name}" if path else name
        if (found := fields.get(name)) is None:
            known = ", ".join(field.name for field in descriptor.fields)
            raise InvalidArgument(f"{at:.80}", f"there is no field {at!a:.80}; a {descriptor.name} has {known}")
        if value is None:
            continue
        field, read = found
        oneof = field.containing_oneof
        if oneof is not None and set_oneofs.setdefault(oneof.name, name) != name:
            raise InvalidArgument(at, f"{at} and {set_oneofs[oneof.name]} exclude each other; send one of them")
        _set(message, field, value, read, at)


def _fill_any(document: Any, message: Message, path: str) -> None:
    try:
        json_format.ParseDict(document, message, max_recursion_depth=20)
    except (json_format.ParseError, ValueError, TypeError):
        raise InvalidArgument(path, f"{path} is no object with a known @type; correct it") from None


def _set(message: Message, field: FieldDescriptor, value: Any, read: _Read | None, at: str) -> None:
    if field.is_repeated:
        if not isinstance(value, list):
            raise _wrong(at, value, "an array")
        target = getattr(message, field.name)
        for place, each in enumerate(value):
            if read is None:
                _fill(each, target.add(), f"{at}[{place}]")
            else:
                target.append(read(each, f"{at}[{place}]"))
    elif read is None:
        child = getattr(message, field.name)
        child.SetInParent()
        _fill(value, child, at)
    else:
        setattr(message, field.name, read(value, at))


@cache
def _fields(descriptor: Descriptor) -> dict[str, tuple[FieldDescriptor, _Read | None]]:
    """Returns each field with what reads its value, None for messages, by its two names."""
    read = [(field, _reader(field)) for field in descriptor.fields]
    return {name: pair for pair in read for name in (pair[0].name, pair[0].json_name)}


def _reader(field: FieldDescriptor) -> _Read | None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return None
    if field.enum_type is not None:
        return _enum_reader({value.name: value.number for value in field.enum_type.values})
    if field.type in _INTEGERS:
        return _integer_reader(*_INTEGERS[field.type])
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return _float32
    return {
        FieldDescriptor.TYPE_BYTES: _bytes,
        FieldDescriptor.TYPE_STRING: _text,
        FieldDescriptor.TYPE_BOOL: _bool,
        FieldDescriptor.TYPE_DOUBLE: _double,
    }[field.type]


def _enum_reader(numbers: dict[str, int]) -> _Read:
    def read(value: Any, at: str) -> int:
        if isinstance(value, str) and value in numbers:
            return numbers[value]
        if isinstance(value, int) and not isinstance(value, bool) and -(1 << 31) <= value < 1 << 31:
            return value
        raise _wrong(at, value, "one of " + ", ".join(numbers))

    return read


def _integer_reader(least: int, most: int) -> _Read:
    def read(value: Any, at: str) -> int:
        number: Any = value
        if isinstance(value, str) and len(value) <= 20 and value.isascii() and value.removeprefix("-").isdigit():
            number = int(value)  # as protobuf's own JSON writes 64 bits
        if isinstance(value, float) and value.is_integer():
            number = int(value)
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number <= most:
            raise _wrong(at, value, f"an integer from {least} to {most}")
        return number

    return read


def _double(value: Any, at: str) -> float:
    if isinstance(value, str) and value in _SPECIAL:
        return _SPECIAL[value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            pass
    raise _wrong(at, value, "a number")


def _float32(value: Any, at: str) -> float:
    number = _double(value, at)
    if math.isfinite(number) and abs(number) >= _LARGEST_FLOAT:
        raise _wrong(at, value, "a number of 32 bits")
    return number


def _bool(value: Any, at: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(at, value, "true or false")
    return value


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise _wrong(at, value, "a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise InvalidArgument(at, f"{at} has half of a surrogate pair; send valid Unicode") from None
    return value


def _bytes(value: Any, at: str) -> bytes:
    """Reads base64 in either of its alphabets, with or without its padding."""
    if not isinstance(value, str):
        raise _wrong(at, value, "base64 in a text")
    if "-" in value or "_" in value:
        value = value.replace("-", "+").replace("_", "/")
    try:
        return binascii.a2b_base64(value + "=" * (-len(value) % 4), strict_mode=True)
    except ValueError:  # also what is not ASCII
        raise InvalidArgument(at, f"{at} is no valid base64; encode the file anew, in one line") from None


def _wrong(path: str, value: Any, wanted: str) -> InvalidArgument:
    if isinstance(value, (dict, list)):
        shown = "an object" if isinstance(value, dict) else "an array"
    else:
        shown = json.dumps(value[:40] if isinstance(value, str) else value)[:40]
    return InvalidArgument(path or "body", f"{path or 'the body'} is {shown}, but must be {wanted}")
