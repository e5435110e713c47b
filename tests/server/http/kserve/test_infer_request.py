"""Any tensors, in JSON or binary, become the message of gRPC's callers; what is malformed gets one clear refusal."""

import base64
import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.server.http.kserve.inference_bodies import PARAMETERS, TEXTS, Tensor, body_of, message_of, tensors

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument
from linnaeus.server.http.kserve.documents import MAX_VALUES
from linnaeus.server.http.kserve.infer_request import InferRequest, from_json, from_tensor, json_size

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def read(body: bytes, size: int | None = None) -> InferRequest:
    return from_json(body, len(body) if size is None else size, "lenet", "")


def refusal(*arguments: Any) -> str:
    with pytest.raises(InvalidArgument) as raised:
        read(*arguments)
    return str(raised.value)


def one_input(**fields: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [2, 2]} | fields]}


@given(st.lists(tensors(), max_size=3), PARAMETERS, TEXTS)
def test_any_tensors_become_the_message_of_a_client_of_grpc(
    sent: list[Tensor], parameters: dict[str, Any], request_id: str
) -> None:
    document = {"id": request_id, "parameters": parameters, "inputs": [tensor.document() for tensor in sent]}
    binary = [tensor.raw for tensor in sent if tensor.form == "binary"]
    read_back = from_json(*body_of(document, *binary), "lenet", "7")
    fields = {"model_name": "lenet", "model_version": "7", "id": request_id}
    assert read_back.message == message_of(sent, parameters, **fields)


@given(st.binary(max_size=80), st.none() | TEXTS)
@example(b'{"inputs":[]}' + b"[" * 100_000, None)
@example(b"[" * 100_000, None)
def test_any_body_is_a_request_or_an_invalid_argument(body: bytes, header: str | None) -> None:
    try:
        read(body, json_size(header, body))
    except InvalidArgument as refused:
        assert str(refused) and len(str(refused)) < 600


@given(st.sampled_from(["name", "datatype", "shape", "data", "parameters", "id", "inputs", "outputs"]), JSON_VALUES)
@example("shape", [2**63])
@example("parameters", {"binary_data_size": True})
@example("parameters", {"priority": -(2**63) - 1})
@example("data", [1, [2]])
@example("data", [[[1], 2]])
def test_any_value_of_a_field_is_taken_or_an_invalid_argument(field: str, value: Any) -> None:
    document = one_input(data=[1, 2, 3, 4])
    target = document if field in ("id", "inputs", "outputs") else document["inputs"][0]
    target[field] = value
    try:
        message = read(*body_of(document)).message
    except InvalidArgument as refused:
        assert str(refused) and len(str(refused)) < 600
    else:
        assert kserve.ModelInferRequest.FromString(message.SerializeToString()) == message


@given(tensors(), st.data())
def test_a_body_that_ends_early_or_late_is_an_invalid_argument(tensor: Tensor, data: st.DataObject) -> None:
    tensor = tensor._replace(form="binary")
    body, size = body_of({"inputs": [tensor.document()]}, tensor.raw)
    assert "after those that the inputs' binary_data_size mean" in refusal(body + b"!", size)
    assert refusal(body[: data.draw(st.integers(0, len(body) - 1))], size)


@pytest.mark.parametrize("header", ["-1", "1e1", "", "x", "11", "99999999999999999999999", "²", "1 0", "+1"])
def test_a_header_length_that_is_none_is_an_invalid_argument(header: str) -> None:
    with pytest.raises(InvalidArgument, match="Inference-Header-Content-Length is '.*', but must be the bytes of JSON"):
        json_size(header, bytes(10))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (one_input(), "inputs.pixels has neither data nor binary_data_size"),
        (one_input(data=None), "inputs.pixels has neither data nor binary_data_size"),
        (one_input(data=[1], parameters={"binary_data_size": 1}), "inputs.pixels has both data and binary_data_size"),
        (one_input(parameters={"binary_data_size": 5}), "binary_data_size is 5, but the body has 0 bytes for it"),
        (one_input(parameters={"binary_data_size": -1}), "binary_data_size is -1, but must be a number of bytes"),
        (one_input(parameters={"binary_data_size": "4"}), "binary_data_size is '4', but must be a number of bytes"),
        (one_input(data=[1, 256]), "Expected `int` <= 255 - at `$[1]`"),
        (one_input(data=[-1]), "Expected `int` >= 0"),
        (one_input(data=[1.5]), "Expected `int`, got `float`"),
        (one_input(data=["1"]), "Expected `int`, got `str`"),
        (one_input(data=7), "inputs.pixels.data must be an array"),
        (one_input(data=[1], datatype="FP16"), "JSON has no datatype 'FP16'; send binary data"),
        (one_input(data=[1e39], datatype="FP32"), "a number that is too large for FP32"),
        (one_input(data=[2**64], datatype="UINT64"), "a number that is too large for UINT64"),
        (one_input(data=["%"], datatype="BYTES", parameters={"content_type": "base64"}), "is no base64"),
        (one_input(data=[1], parameters={"x": 2**64}), "inputs.pixels.x is 18446744073709551616, but must be"),
        (one_input(data=[1]) | {"parameters": {"binary_data_output": 1}}, "binary_data_output is 1, but must be true"),
        (one_input(data=["x"] * 1025, datatype="BYTES"), "has 1025 elements, but 1024 are the most"),
        (one_input(data=[1], shape=[1] * 65), "Expected `array` of length <= 64 - at `$.inputs[0].shape`"),
        ({"inputs": one_input(data=[1])["inputs"] * 65}, "Expected `array` of length <= 64 - at `$.inputs`"),
        (one_input(data=[1]) | {"outputs": [{"name": "x"}] * 65}, "Expected `array` of length <= 64 - at `$.outputs`"),
        (one_input(data=[1]) | {"parameters": {str(n): n for n in range(65)}}, "Expected `object` of length <= 64"),
        ({"inputs": 1}, "Expected `array`, got `int` - at `$.inputs`"),
        ({}, "missing required field `inputs`"),
    ],
)
def test_what_is_wrong_is_said(document: Any, words: str) -> None:
    assert words in refusal(*body_of(document))


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (True, "bool_param"),
        (-(2**63), "int64_param"),
        (2**63 - 1, "int64_param"),
        (2**63, "uint64_param"),
        (2**64 - 1, "uint64_param"),
        (1.0, "double_param"),
        ("1", "string_param"),
    ],
)
def test_a_parameter_has_the_kind_that_its_value_needs(value: Any, kind: str) -> None:
    message = read(*body_of(one_input(data=[1]) | {"parameters": {"x": value}})).message
    assert message.parameters["x"].WhichOneof("parameter_choice") == kind
    assert getattr(message.parameters["x"], kind) == value


def test_json_with_too_many_values_is_refused_before_it_is_read() -> None:
    body, size = body_of(one_input(data=[0] * (MAX_VALUES + 1)))
    assert f"over {MAX_VALUES} values; send tensors as binary data" in refusal(body, size)
    picture = base64.b64encode(bytes(3_000_000)).decode()
    parameters = {"content_type": "base64"}
    accepted = read(*body_of(one_input(data=[picture], shape=[1], datatype="BYTES", parameters=parameters)))
    assert len(accepted.message.raw_input_contents[0]) == 3_000_004


def test_elements_in_base64_become_their_bytes_if_a_parameter_says_so() -> None:
    picture = b"\xff\xd8\x00 no text"
    text = base64.b64encode(picture).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [text]}
    said = {"inputs": [tensor | {"parameters": {"content_type": "base64"}}]}
    (raw,) = read(*body_of(said)).message.raw_input_contents
    assert raw == len(picture).to_bytes(4, "little") + picture
    (raw,) = read(*body_of({"inputs": [tensor]})).message.raw_input_contents
    assert raw[4:] == text.encode()


def test_a_tensor_in_shared_memory_is_left_to_the_servicer_to_refuse() -> None:
    message = read(*body_of(one_input(parameters={"shared_memory_region": "r"}))).message
    assert message.inputs[0].parameters["shared_memory_region"].string_param == "r"
    assert not message.raw_input_contents


@pytest.mark.parametrize(
    ("parameters", "outputs", "expected"),
    [
        ({}, None, ([], False)),
        ({"binary_data_output": True}, None, ([], True)),
        ({}, [{}, {"binary_data": True}], ([False, True], False)),
        ({"binary_data_output": True}, [{}, {"binary_data": False}], ([True, False], True)),
    ],
)
def test_the_form_of_each_output_is_that_which_it_asks_for_else_that_of_the_request(
    parameters: dict[str, Any], outputs: list[dict[str, Any]] | None, expected: tuple[list[bool], bool]
) -> None:
    wanted = None if outputs is None else [{"name": "probabilities", "parameters": each} for each in outputs]
    request = read(*body_of(one_input(data=[1]) | {"parameters": parameters, "outputs": wanted}))
    assert (request.are_binary, request.is_binary) == expected
    assert not request.message.parameters and not any(each.parameters for each in request.message.outputs)


def test_a_body_without_json_is_the_only_input() -> None:
    metadata = kserve.ModelMetadataResponse.TensorMetadata
    picture = from_tensor(b"\xff\xd8", "lenet", "", metadata(name="image", datatype="BYTES", shape=[-1, 1])).message
    assert list(picture.inputs[0].shape) == [1, 1] and picture.raw_input_contents[0] == b"\x02\x00\x00\x00\xff\xd8"
    pixels = metadata(name="pixels", datatype="UINT8", shape=[-1, 1, 2, 2])
    for size, images in ((4, 1), (8, 2), (9, 2), (1, 1)):
        message = from_tensor(bytes(size), "lenet.pixels", "", pixels).message
        assert list(message.inputs[0].shape) == [images, 1, 2, 2] and message.raw_input_contents[0] == bytes(size)


def test_json_that_clients_write_with_spaces_and_nothing_else_is_read() -> None:
    text = json.dumps(one_input(data=[[1, 2], [3, 4]]), indent=2).replace("[\n", "[ \t\r\n")
    assert read(text.encode()).message.raw_input_contents[0] == bytes([1, 2, 3, 4])
