"""`ModelInfer` refuses what it cannot answer, names the fault, and bothers the engine with none of it."""

from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.server.rpc.kserve.served_inference import (
    Served,
    classification_output,
    encoded_request,
    pixel_request,
    probabilities_of,
    refusal,
)

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.rpc.kserve.inputs import MAX_IMAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_timeout_that_cannot_be_met_is_refused(served: Served, digits: list[bytes]) -> None:
    request = encoded_request(digits[:1], parameters={"timeout": kserve.InferParameter(int64_param=1)})
    code, _ = await refusal(served.infer.ModelInfer(request))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_invalid_image_fails_its_request_and_is_named(served: Served, digits: list[bytes]) -> None:
    message, fields = await refusal_of_images(served, [digits[0], b"no picture", digits[1]])
    assert message.startswith("image 1 of 3, counted from 0: ") and fields == ["inputs.image[1]"]


async def test_a_single_invalid_image_is_named(served: Served) -> None:
    message, fields = await refusal_of_images(served, [b"no picture"])
    assert not message.startswith("image 0") and fields == ["inputs.image[0]"]


async def refusal_of_images(served: Served, elements: list[bytes]) -> tuple[str, list[str]]:
    """Returns the message and the named fields of the refusal of a request with invalid images."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.infer.ModelInfer(encoded_request(elements))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (detail,) = rpc_status.from_call(raised.value).details
    bad_request = error_details_pb2.BadRequest.FromString(detail.value)
    return raised.value.details() or "", [each.field for each in bad_request.field_violations]


async def test_more_images_than_the_queue_holds_are_refused_as_overload(served: Served, digits: list[bytes]) -> None:
    code, message = await refusal(served.infer.ModelInfer(encoded_request(digits[:1] * 600)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "of 600" in message
    answer = await served.infer.ModelInfer(encoded_request(digits))
    assert len(probabilities_of(answer)) == len(digits), "no request is left in the queue"


TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1]}
SHARED = {"shared_memory_region": kserve.InferParameter(string_param="mine")}


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (
            pixel_request(datatype="FP32"),
            "input pixels is FP32, but must be UINT8: send the pixels as they are, 0 to 255",
        ),
        (pixel_request(shape=[1, 3, 28, 28]), "must have [n, 1, 28, 28]"),
        (pixel_request(shape=[1, 28, 28]), "must have [n, 1, 28, 28]"),
        (pixel_request(count=2), "holds 0 bytes, but its shape [2, 1, 28, 28] means 1568"),
        (pixel_request(model_name="lenet"), "model lenet takes one input, 'image', but the request holds 'pixels'"),
        (encoded_request([b""], model_name="lenet.pixels"), "takes one input, 'pixels'"),
        (encoded_request([b""], inputs=[]), "the request holds none"),
        (encoded_request([b""], inputs=[TENSOR, TENSOR]), "the request holds 'image', 'image'"),
        (encoded_request([b""], inputs=[{**TENSOR, "datatype": "UINT8"}]), "pixels go to lenet.pixels"),
        (encoded_request([b""], inputs=[{**TENSOR, "shape": []}]), "has the shape []"),
        (encoded_request([b""], inputs=[{**TENSOR, "shape": [0]}]), "has the shape [0]"),
        (encoded_request([b""], inputs=[{**TENSOR, "shape": [-1]}]), "has the shape [-1]"),
        (encoded_request([b""], inputs=[{**TENSOR, "shape": [1, 2]}]), "has the shape [1, 2]"),
        (encoded_request([b""] * (MAX_IMAGES + 1)), f"{MAX_IMAGES} are the most"),
        (encoded_request([b""], raw_input_contents=[b"", b""]), "2 raw and 0 typed"),
        (encoded_request([b""], inputs=[{**TENSOR, "contents": {"bytes_contents": [b""]}}]), "1 raw and 1 typed"),
        (encoded_request([b""], inputs=[{**TENSOR, "parameters": SHARED}]), "shared memory, which is not served"),
        (
            encoded_request([b""], outputs=[{"name": "probabilities", "parameters": SHARED}]),
            "shared memory, which is not served",
        ),
        (
            encoded_request([b""], outputs=[{"name": "logits"}]),
            "has one output, 'probabilities', but the request wants 'logits'",
        ),
        (encoded_request([b""], **classification_output(-1)), "classification must be a whole number"),
        (
            encoded_request([b""], parameters={"timeout": kserve.InferParameter(int64_param=-1)}),
            "timeout must be a whole number",
        ),
        (
            encoded_request([b""], parameters={"priority": kserve.InferParameter(string_param="1")}),
            "priority must be a whole",
        ),
        (
            encoded_request([b""], parameters={"min_probability": kserve.InferParameter(double_param=1.5)}),
            "parameters.min_probability must be a number between 0 and 1",
        ),
        (
            encoded_request([b""], parameters={"min_probability": kserve.InferParameter(string_param="0.5")}),
            "parameters.min_probability must be a number between 0 and 1, sent as a number",
        ),
    ],
)
async def test_an_invalid_request_is_refused_and_does_not_reach_the_engine(
    served: Served, request_: kserve.ModelInferRequest, expected: str
) -> None:
    count_before = len(served.engine.requests)
    code, message = await refusal(served.infer.ModelInfer(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and expected in message
    assert len(served.engine.requests) == count_before


@pytest.mark.parametrize("name", ["priority", "timeout"])
@pytest.mark.parametrize(
    "value",
    [
        {"string_param": "1"},
        {"bool_param": True},
        {"double_param": 1.0},
        {"int64_param": -1},
        {"uint64_param": 1 << 63},
        {"uint64_param": (1 << 64) - 1},
        {},
    ],
)
async def test_a_parameter_that_is_no_whole_number_is_refused_by_its_name(
    served: Served, digits: list[bytes], name: str, value: dict[str, Any]
) -> None:
    request = encoded_request(digits[:1], parameters={name: kserve.InferParameter(**value)})
    code, message = await refusal(served.infer.ModelInfer(request))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and message.startswith(f"parameters.{name} must be a whole number")


async def test_a_response_cannot_be_made_much_larger_than_its_request(served: Served, digits: list[bytes]) -> None:
    code, message = await refusal(
        served.infer.ModelInfer(encoded_request(digits[:1], outputs=[{"name": "probabilities"}] * 5))
    )
    assert (code, message[:25]) == (grpc.StatusCode.INVALID_ARGUMENT, "the request wants 5 outpu")
    four_thousand = {**classification_output(10), "outputs": classification_output(10)["outputs"] * 4}
    code, message = await refusal(served.infer.ModelInfer(encoded_request(digits[:1] * 1024, **four_thousand)))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and "asks for 40960 texts" in message
