"""Finds TorchScript that reads the values of tensors: its control flow may depend on them."""

from typing import Any

# TorchScript operations that copy a tensor's value to the CPU.
_READING_OPERATIONS = (
    *(f"aten::{name}" for name in ("item", "Int", "Float", "Bool", "is_nonzero", "equal", "nonzero", "masked_select")),
    *(f"aten::{name}" for name in ("IntImplicit", "FloatImplicit", "ScalarImplicit", "tolist")),
)


def value_reading_operation(graph: Any) -> str:
    """Returns the first operation in a graph that copies a tensor's value to the CPU; empty if there is none."""
    for kind in _READING_OPERATIONS:
        inputs = (value for node in graph.findAllNodes(kind) for value in node.inputs())
        if any(map(_is_device_tensor, inputs)):
            return kind
    return ""


def _is_device_tensor(value: Any) -> bool:
    """Whether a value is a tensor, except those that tracing creates from a number, which stay on the CPU."""
    is_tensor: bool = value.type().kind() == "TensorType"
    return is_tensor and value.node().kind() != "prim::NumToTensor"
