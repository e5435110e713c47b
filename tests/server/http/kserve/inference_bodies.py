"""Bodies of inference requests as clients send them, and strategies that draw what is in them."""

import json
import struct
from typing import Any, NamedTuple

import numpy
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from linnaeus.kserve import grpc_service_pb2 as kserve

# The datatypes that JSON has, with numpy's types.
DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PARAMETERS = st.dictionaries(
    st.sampled_from(["priority", "timeout", "min_probability", "sequence_id", "é"]),
    st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    max_size=3,
)


class Tensor(NamedTuple):
    name: str
    datatype: str
    array: numpy.ndarray
    parameters: dict[str, Any]
    form: str  # nested, flat or binary

    @property
    def raw(self) -> bytes:
        if self.datatype != "BYTES":
            return self.array.tobytes()
        elements = [element.encode() for element in self.array.ravel().tolist()]
        return b"".join(struct.pack("<I", len(element)) + element for element in elements)

    def document(self) -> dict[str, Any]:
        """Returns the tensor in JSON, without its data if that is binary."""
        document: dict[str, Any] = {"name": self.name, "datatype": self.datatype, "shape": list(self.array.shape)}
        parameters = dict(self.parameters)
        if self.form == "binary":
            parameters["binary_data_size"] = len(self.raw)
        else:
            document["data"] = (self.array if self.form == "nested" else self.array.ravel()).tolist()
        return document | ({"parameters": parameters} if parameters else {})


@st.composite
def tensors(draw: st.DrawFn) -> Tensor:
    datatype = draw(st.sampled_from(sorted(DTYPES)))
    shape = draw(arrays.array_shapes(max_dims=4, max_side=4))
    if datatype == "BYTES":
        elements: Any = TEXTS
    elif datatype.startswith("FP"):
        elements = st.floats(allow_nan=False, allow_infinity=False, width=int(datatype[2:]))
    else:
        elements = None
    array = draw(arrays.arrays(DTYPES[datatype], shape, elements=elements))
    form = draw(st.sampled_from(["nested", "flat", "binary"]))
    return Tensor(draw(TEXTS), datatype, array, draw(PARAMETERS), form)


def body_of(document: Any, *binary: bytes) -> tuple[bytes, int]:
    """Returns a body, and the size of the JSON in it."""
    head = json.dumps(document).encode()
    return b"".join([head, *binary]), len(head)


def set_parameters(target: Any, parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool):
            target[name].bool_param = value
        elif isinstance(value, int):
            setattr(target[name], "int64_param" if value < 2**63 else "uint64_param", value)
        elif isinstance(value, str):
            target[name].string_param = value
        else:
            target[name].double_param = value


def message_of(given: list[Tensor], parameters: dict[str, Any], **fields: Any) -> kserve.ModelInferRequest:
    """Returns the message that a client of gRPC sends for the same tensors."""
    message = kserve.ModelInferRequest(**fields)
    set_parameters(message.parameters, parameters)
    for tensor in given:
        added = message.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.array.shape)
        set_parameters(added.parameters, tensor.parameters)
        message.raw_input_contents.append(tensor.raw)
    return message
