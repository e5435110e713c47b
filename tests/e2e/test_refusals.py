"""Invalid requests are refused with their status code and a one-line message, and the server is unaffected."""

import io
import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from PIL import Image

from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

Metric = Callable[..., float]


def _png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _truncated_jpeg() -> bytes:
    file = io.BytesIO()
    Image.effect_noise((300, 200), 60).save(file, "JPEG")
    return file.getvalue()[:3000]


def _encoded(data: bytes) -> v1.Image:
    return v1.Image(encoded=data)


def _raw(data: bytes, height: int, width: int, channels: int) -> v1.Image:
    return v1.Image(pixels=v1.RawPixels(data=data, height=height, width=width, channels=channels))


BAD_IMAGES = {
    "no image": (v1.Image(), "image", "no image"),
    "empty body": (_encoded(b""), "image.encoded", "empty"),
    "random bytes": (_encoded(random.Random(1).randbytes(4096)), "image.encoded", "JPEG"),
    "truncated JPEG": (_encoded(_truncated_jpeg()), "image.encoded", ""),
    "text file": (_encoded(b"Dear server,\nplease look at my cat.\n"), "image.encoded", "JPEG"),
    "huge claim": (_encoded(_png_header(100_000, 100_000)), "image.encoded", "100000"),
    "raw length": (_raw(b"\x00" * 100, 10, 10, 3), "image.pixels.data", "300"),
    "raw negative": (_raw(b"", -1, 10, 3), "image.pixels.height", "-1"),
    "raw channels": (_raw(b"\x00" * 200, 10, 10, 2), "image.pixels.channels", "2"),
}


def _refusal(stub: ClassifierServiceStub, request: v1.ClassifyRequest) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as raised:
        stub.Classify(request, timeout=30)
    return raised.value


def _detail(error: grpc.RpcError, kind: type) -> object:
    status = rpc_status.from_call(error)
    detail = kind()
    assert status.details[0].Unpack(detail)
    return detail


def _is_one_short_line(text: str) -> bool:
    return 10 < len(text) < 300 and "\n" not in text and "Traceback" not in text and "Error:" not in text


@pytest.mark.parametrize("case", BAD_IMAGES)
def test_a_bad_image_is_invalid_argument_and_names_the_field(
    stub: ClassifierServiceStub, pictures: Path, case: str
) -> None:
    image, field, word = BAD_IMAGES[case]
    error = _refusal(stub, v1.ClassifyRequest(image=image, model="lenet"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert word in error.details() and _is_one_short_line(error.details())
    violation = _detail(error, error_details_pb2.BadRequest).field_violations[0]
    assert (violation.field, violation.description) == (field, error.details())
    _still_serves(stub, pictures)


def test_a_picture_with_a_huge_size_in_its_header_takes_no_memory(stub: ClassifierServiceStub, metric: Metric) -> None:
    _refusal(stub, v1.ClassifyRequest(image=_encoded(_png_header(100, 100_000)), model="lenet"))  # warm
    before = metric("process_resident_memory_bytes")
    for _ in range(20):
        _refusal(stub, v1.ClassifyRequest(image=_encoded(_png_header(100_000, 100_000)), model="lenet"))
    assert metric("process_resident_memory_bytes") - before < 50e6


def test_an_unknown_model_or_version_is_not_found_and_lists_the_served_ones(stub: ClassifierServiceStub) -> None:
    for model, version, resource in (("resnet", "", "resnet"), ("lenet", "7", "lenet/7"), ("../lenet", "", "../lenet")):
        error = _refusal(stub, v1.ClassifyRequest(model=model, version=version, image=_encoded(b"x")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "there are: " in error.details()
        assert _detail(error, error_details_pb2.ResourceInfo).resource_name == resource


def test_a_missing_model_name_is_invalid_argument_if_several_models_are_served(stub: ClassifierServiceStub) -> None:
    error = _refusal(stub, v1.ClassifyRequest(image=_encoded(b"x")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert _detail(error, error_details_pb2.BadRequest).field_violations[0].field == "model"


def test_top_k_above_the_class_count_is_invalid_argument(stub: ClassifierServiceStub) -> None:
    error = _refusal(stub, v1.ClassifyRequest(model="lenet", top_k=11, image=_encoded(b"x")))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "top_k is 11, but model lenet has 10 classes; 0 means the default"
    assert _detail(error, error_details_pb2.BadRequest).field_violations[0].field == "top_k"


def test_a_message_of_40_mb_is_refused_by_grpc(stub: ClassifierServiceStub, pictures: Path) -> None:
    error = _refusal(stub, v1.ClassifyRequest(model="lenet", image=_encoded(b"\xff" * 40_000_000)))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert rpc_status.from_call(error) is None
    _still_serves(stub, pictures)


def test_refusals_are_counted_by_reason_and_unknown_names_add_no_series(
    stub: ClassifierServiceStub, metric: Metric
) -> None:
    def counts() -> tuple[float, float, float]:
        return (
            metric("linnaeus_rejected_total", model="lenet", reason="invalid_image"),
            metric("linnaeus_rejected_total", model="_other", reason="not_found"),
            metric("linnaeus_rejected_total", model="made-up"),
        )

    before = counts()
    _refusal(stub, v1.ClassifyRequest(model="lenet", image=_encoded(b"x")))
    _refusal(stub, v1.ClassifyRequest(model="made-up", image=_encoded(b"x")))
    assert counts() == (before[0] + 1, before[1] + 1, 0)


def _still_serves(stub: ClassifierServiceStub, pictures: Path) -> None:
    request = v1.ClassifyRequest(image=_encoded((pictures / "digits" / "7.png").read_bytes()), model="lenet")
    assert stub.Classify(request, timeout=30).classes[0].label == "7"
