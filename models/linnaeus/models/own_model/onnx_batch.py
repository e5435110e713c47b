"""Makes the batch of an ONNX graph variable that was exported for a fixed number of pictures.

Whether the result is right is decided by running it beside the original (`onnx_trial`), not here.
"""

from typing import Any

from linnaeus.models.own_model.onnx_packages import import_onnx

_BATCH = "batch"
_KEEP = 0  # in the shape of a Reshape: as in the input
_INFER = -1


def with_variable_batch(model: Any, input_name: str, batch: int) -> Any:
    """Returns a copy of a ModelProto whose input and outputs have a variable first dimension.

    A Reshape to a constant shape that begins with the batch, as exporters write for `flatten`, keeps its input's first
    dimension instead.

    Args:
        model: the original; it is not changed.
        input_name: the input of the pictures.
        batch: the fixed number of pictures.
    """
    changed = import_onnx().ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    for value in [each for each in graph.input if each.name == input_name] + list(graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = _BATCH
    del graph.value_info[:]  # the sizes of tensors between, with the old batch
    for node in graph.node:
        if node.op_type == "Reshape":
            _keep_batch(graph, node, batch)
    return changed


def _keep_batch(graph: Any, node: Any, batch: int) -> None:
    helper = import_onnx().numpy_helper
    shape = _constant(graph, node.input[1])
    if shape is None or len(shape) < 2 or shape[0] != batch:
        return
    zero_is_size = any(each.name == "allowzero" and each.i for each in node.attribute)
    if _INFER in shape and zero_is_size:
        return
    # Under a name of its own: another node may use the same constant.
    kept = shape.copy()
    kept[0] = _KEEP if _INFER in shape else _INFER
    name = f"{node.input[1]}/{_BATCH}/{node.output[0]}"
    graph.initializer.append(helper.from_array(kept, name))
    node.input[1] = name


def _constant(graph: Any, name: str) -> Any:
    """Returns a constant of the graph as an array; None if the name is no constant."""
    helper = import_onnx().numpy_helper
    for tensor in graph.initializer:
        if tensor.name == name:
            return helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            return next((helper.to_array(each.t) for each in node.attribute if each.name == "value"), None)
    return None
