"""The response to a request to infer: JSON, and after it the outputs that are wanted as binary data."""

from typing import Any

import msgspec
from starlette.responses import Response

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.http.kserve.compression import compressed, wanted_coding
from linnaeus.server.http.kserve.infer_request import JSON_SIZE_HEADER, InferRequest
from linnaeus.server.http.kserve.json_tensors import json_values
from linnaeus.server.http.kserve.parameters import BINARY_SIZE

_JSON = "application/json"
_BINARY = "application/octet-stream"


async def infer_response(request: InferRequest, answer: kserve.ModelInferResponse, accepted: str) -> Response:
    """Returns the response.

    Args:
        request: the request.
        answer: the answer as gRPC has it.
        accepted: the codings that the caller takes, as `Accept-Encoding` has them.
    """
    body, size = _body(request, answer)
    headers = {} if size is None else {JSON_SIZE_HEADER: str(size)}
    coding = wanted_coding(accepted, len(body))
    if coding is not None:
        body = await compressed(body, coding)
        headers |= {"content-encoding": coding, "vary": "accept-encoding"}
    return Response(body, headers=headers, media_type=_JSON if size is None else _BINARY)


def _body(request: InferRequest, answer: kserve.ModelInferResponse) -> tuple[bytes, int | None]:
    """Returns the body, and the size of the JSON in it; None if no output is binary."""
    outputs, parts = [], list[bytes]()
    are_binary = request.are_binary or [request.is_binary]
    for tensor, raw, is_binary in zip(answer.outputs, answer.raw_output_contents, are_binary, strict=True):
        output: dict[str, Any] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}
        if is_binary:
            output["parameters"] = {BINARY_SIZE: len(raw)}
            parts.append(raw)
        else:
            output["data"] = json_values(raw, tensor.datatype)
        outputs.append(output)
    document = {"model_name": answer.model_name, "model_version": answer.model_version, "outputs": outputs}
    if answer.id:
        document["id"] = answer.id
    json = msgspec.json.encode(document)
    return b"".join([json, *parts]), len(json) if parts else None
