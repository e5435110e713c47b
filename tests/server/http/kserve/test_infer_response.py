"""Responses have each output in the form that was asked for, compressed if the caller takes that."""

import gzip
import json
import struct
import zlib
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.http.kserve.compression import wanted_coding
from linnaeus.server.http.kserve.infer_request import InferRequest
from linnaeus.server.http.kserve.infer_response import infer_response
from linnaeus.server.rpc.kserve.tensors import raw_bytes, raw_fp32

pytestmark = pytest.mark.asyncio


def answer(values: list[float], texts: list[str]) -> kserve.ModelInferResponse:
    response = kserve.ModelInferResponse(model_name="lenet", model_version="1", id="mine")
    response.outputs.add(name="probabilities", datatype="FP32", shape=[1, len(values)])
    response.outputs.add(name="probabilities", datatype="BYTES", shape=[1, len(texts)])
    response.raw_output_contents.extend([raw_fp32(values), raw_bytes([text.encode() for text in texts])])
    return response


async def respond(response: kserve.ModelInferResponse, are_binary: list[bool], accepted: str = "") -> Any:
    request = InferRequest(kserve.ModelInferRequest(), are_binary, False)
    return await infer_response(request, response, accepted)


@given(
    st.lists(st.floats(0, 1, width=32), min_size=1, max_size=9),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5),
    st.tuples(st.booleans(), st.booleans()),
)
async def test_each_output_is_the_same_in_json_and_binary(
    values: list[float], texts: list[str], are_binary: tuple[bool, bool]
) -> None:
    expected = answer(values, texts)
    response = await respond(expected, list(are_binary))
    size = int(response.headers.get("inference-header-content-length", len(response.body)))
    document, rest = json.loads(response.body[:size]), response.body[size:]
    assert ("inference-header-content-length" in response.headers) == any(are_binary)
    assert (document["id"], document["model_name"], document["model_version"]) == ("mine", "lenet", "1")
    for output, raw, is_binary in zip(document["outputs"], expected.raw_output_contents, are_binary, strict=True):
        if is_binary:
            taken, rest = (rest[: (count := output["parameters"]["binary_data_size"])], rest[count:])
            assert taken == raw and "data" not in output
        elif output["datatype"] == "FP32":
            assert numpy.array(output["data"], "<f4").tobytes() == raw
        else:
            assert b"".join(struct.pack("<I", len(each.encode())) + each.encode() for each in output["data"]) == raw
    assert rest == b""


@pytest.mark.parametrize("size", [1_000, 100_000])
@pytest.mark.parametrize(("coding", "inflate"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)])
async def test_a_response_is_compressed_as_the_caller_asks(size: int, coding: str, inflate: Any) -> None:
    plain = await respond(answer([0.5] * size, []), [True, True])
    response = await respond(answer([0.5] * size, []), [True, True], coding)
    assert response.headers["content-encoding"] == coding and len(response.body) < len(plain.body) / 2
    assert inflate(response.body) == plain.body
    assert response.headers["inference-header-content-length"] == plain.headers["inference-header-content-length"]
    assert response.headers["content-length"] == str(len(response.body))


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        (" GZIP", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br", None),
        ("gzip;q=0", None),
    ],
)
async def test_callers_ask_for_compression_by_naming_one_coding(accepted: str, coding: str | None) -> None:
    assert wanted_coding(accepted, 1 << 20) == coding


async def test_a_small_response_is_not_compressed() -> None:
    assert "content-encoding" not in (await respond(answer([0.5] * 10, []), [True, True], "gzip")).headers
