"""Recognizes ONNX, and reads what it takes and gives if the package `onnx` is installed."""

import importlib
from pathlib import Path
from typing import Any

# A ModelProto begins with its first field, ir_version, a small number, then another field of ModelProto.
_IR_VERSION = 0x08
_MOST_IR_VERSION = 32
_NEXT_FIELDS = (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def is_onnx(head: bytes) -> bool:
    """Returns whether a file that begins so is an ONNX model."""
    return len(head) > 2 and head[0] == _IR_VERSION and 0 < head[1] <= _MOST_IR_VERSION and head[2] in _NEXT_FIELDS


def describe(path: Path) -> str:
    """Describes the file in words that complete "it is …"."""
    try:
        onnx = importlib.import_module("onnx")
    except ImportError:
        return "ONNX"
    try:
        graph = onnx.load(str(path), load_external_data=False).graph
    except Exception:  # a DecodeError of whichever protobuf is installed
        return "ONNX, but damaged"
    constants = {each.name for each in graph.initializer}
    inputs = [_tensor(onnx, value) for value in graph.input if value.name not in constants]
    return f"ONNX: takes {', '.join(inputs)}; gives {', '.join(_tensor(onnx, value) for value in graph.output)}"


def _tensor(onnx: Any, value: Any) -> str:
    kind = value.type.tensor_type
    sizes = [each.dim_param or str(each.dim_value or "?") for each in kind.shape.dim]
    return f"{value.name}, {onnx.TensorProto.DataType.Name(kind.elem_type).lower()} [{', '.join(sizes)}]"
