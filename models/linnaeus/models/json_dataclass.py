"""Builds dataclasses from parsed JSON, and says of each fault which field it is in.

It imports the standard library only.
"""

import dataclasses
import json
import math
import types
import typing

_WORDS = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}


def build_dataclass(kind: type, data: object, where: str = "") -> object:
    """Builds a dataclass from parsed JSON.

    Args:
        kind: the dataclass; its fields are text, numbers, booleans, tuples of these, other dataclasses, or None.
        data: what `json.loads` returned.
        where: dotted path of the field that the data stands in; empty for the whole.

    Raises:
        ValueError: if a field is missing, unknown, of another type or refused by the dataclass; the message begins with
            its path.
    """
    if not isinstance(data, dict):
        raise ValueError(f"{where or 'the whole'} must be an object, which {{ and }} enclose")
    hints = typing.get_type_hints(kind)
    required = {field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING}
    for missing in sorted(required - data.keys()):
        raise ValueError(f"{_join(where, missing)} is missing")
    for unknown in sorted(data.keys() - hints.keys()):
        raise ValueError(f"{_join(where, unknown)} is not a known field")
    values = {name: _convert(hints[name], value, _join(where, name)) for name, value in data.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}.{error}" if where else str(error)) from None


def _convert(hint: typing.Any, value: object, where: str) -> object:
    """Converts parsed JSON to the annotated type; raises ValueError, with the field's path, if it has another type."""
    if dataclasses.is_dataclass(hint):
        return build_dataclass(typing.cast(type, hint), value, where)
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        return _convert(next(member for member in hint.__args__ if member is not type(None)), value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list")
        return tuple(_convert(hint.__args__[0], entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if hint is float and type(value) in (int, float):
        return _finite(typing.cast(float, value), where)
    if type(value) is not hint:
        raise ValueError(f"{where} is {_shown(value)}, but must be {_WORDS[hint]}")
    return value


def _finite(value: float, where: str) -> float:
    """Converts to float; raises ValueError for NaN, infinity, and integers beyond float's range."""
    try:
        if math.isfinite(value):
            return float(value)
    except OverflowError:
        pass
    raise ValueError(f"{where} is {_shown(value)}, but must be a finite number")


def _shown(value: object) -> str:
    """Returns the beginning of a value as JSON has it."""
    return json.dumps(value, ensure_ascii=False)[:60]


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name
