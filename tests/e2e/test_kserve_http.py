"""KServe over HTTP against a real server: the answers, rights and refusals of gRPC, and one clear error each."""

import base64
import gzip
import http.client
import json
import secrets
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import numpy
import pytest
from tests.e2e.forked_server import ForkedServer

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.server.rpc.kserve.tensors import raw_bytes
from linnaeus.server.rpc.kserve.unserved_calls import REASONS
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

INFER = "/v2/models/lenet/infer"
JSON_SIZE = "Inference-Header-Content-Length"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """A caller over HTTP that keeps its connection."""

    def __init__(self, server: ServerProcess) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=30)

    def close(self) -> None:
        self.connection.close()

    def __call__(self, path: str, body: bytes | None = None, method: str = "", **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        self.connection.request(method or ("GET" if body is None else "POST"), path, body, names)
        response = self.connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def infer(self, document: Any, *binary: bytes, path: str = INFER, **headers: str) -> Answer:
        head = json.dumps(document).encode()
        return self(path, b"".join([head, *binary]), **{JSON_SIZE.replace("-", "_"): str(len(head))} | headers)


@pytest.fixture(scope="module")
def serving(repository: Path) -> Iterator[ServerProcess]:
    # One image per batch: then the same image gives bit-identical answers in every call.
    flags = ["--http-port", "0", "--max-batch-size", "1", "--streams", "1", "--max-message-bytes", str(4 << 20)]
    with ForkedServer("--repository", str(repository), *flags) as server:
        yield server


@pytest.fixture
def call(serving: ServerProcess) -> Iterator[Caller]:
    with closing(Caller(serving)) as caller:
        yield caller


@pytest.fixture
def digit(pictures: Path) -> bytes:
    return (pictures / "digits" / "7.png").read_bytes()


def picture(encoded: bytes, **fields: Any) -> dict[str, Any]:
    """Returns a request whose picture is binary."""
    size = {"binary_data_size": len(raw_bytes([encoded]))}
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [1], "parameters": size}]} | fields


def probabilities(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.body
    size = int(answer.headers.get(JSON_SIZE.lower(), len(answer.body)))
    (output,) = json.loads(answer.body[:size])["outputs"]
    values = numpy.array(output["data"], "<f4") if "data" in output else numpy.frombuffer(answer.body[size:], "<f4")
    return list(values.tolist())


@pytest.mark.parametrize("name", ["coffee.jpg", "chelsea.jpg", "camera.jpg"])
def test_a_picture_has_the_same_answer_by_every_protocol(
    serving: ServerProcess, call: Caller, pictures: Path, name: str
) -> None:
    encoded, model = (pictures / name).read_bytes(), "efficientnet_lite0"
    path = f"/v2/models/{model}/infer"
    in_base64 = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(encoded).decode()]}
    in_base64["parameters"] = {"content_type": "base64"}
    answers = {
        "binary": probabilities(call.infer(picture(encoded), raw_bytes([encoded]), path=path)),
        "base64": probabilities(call(path, json.dumps({"inputs": [in_base64]}).encode())),
        "body": probabilities(call(path, encoded, **{JSON_SIZE: "0"})),
        "version": probabilities(call(f"/v2/models/{model}/versions/1/infer", encoded, **{JSON_SIZE: "0"})),
    }
    plain = call(f"/v1/models/{model}:classify?top_k=1000", encoded).json["classes"]
    answers["plain"] = [each["probability"] for each in sorted(plain, key=lambda each: each["index"])]
    with grpc.insecure_channel(serving.target) as channel:
        request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), model=model, top_k=1000)
        native = v1_grpc.ClassifierServiceStub(channel).Classify(request)
        answers["native"] = [each.probability for each in sorted(native.classes, key=lambda each: each.index)]
        message = kserve.ModelInferRequest(model_name=model, raw_input_contents=[raw_bytes([encoded])])
        message.inputs.add(name="image", datatype="BYTES", shape=[1])
        (raw,) = kserve_grpc.GRPCInferenceServiceStub(channel).ModelInfer(message).raw_output_contents
    for way, values in answers.items():
        assert numpy.array(values, "<f4").tobytes() == raw, way


def test_pixels_in_the_body_are_as_many_images_as_they_fill(call: Caller) -> None:
    pixels = numpy.random.default_rng(3).integers(0, 256, (2, 1, 28, 28), dtype=numpy.uint8)
    path = "/v2/models/lenet.pixels/infer"
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [2, 1, 28, 28], "data": pixels.tolist()}
    answered = probabilities(call(path, json.dumps({"inputs": [tensor]}).encode()))
    assert len(answered) == 20 and answered == probabilities(call(path, pixels.tobytes(), **{JSON_SIZE: "0"}))


@pytest.mark.parametrize(
    ("document", "binary", "headers", "words"),
    [
        (b"{]", b"", {}, "the body is not as the protocol has it"),
        (b"", b"", {}, "the body is not as the protocol has it"),
        (b"", b"", {JSON_SIZE: "0"}, "the body is not as the protocol has it"),
        (b"\xff\xd8\xff", b"", {}, "the body is not as the protocol has it"),
        (b'{"inputs":[]}', b"", {}, "model lenet takes one input, 'image', but the request holds none"),
        (b'{"inputs":[]}', b"xx", {}, "the body is not as the protocol has it"),
        (b'{"inputs":[]}', b"xx", {JSON_SIZE: "13"}, "the body has 2 bytes after those that the inputs'"),
        (b'{"inputs":[]}', b"", {JSON_SIZE: "14"}, "but must be the bytes of JSON in a body of 13"),
        (b'{"inputs":[]}', b"", {JSON_SIZE: "-1"}, "but must be the bytes of JSON in a body of 13"),
        (b'{"inputs":[]}', b"", {JSON_SIZE: "5"}, "the body is not as the protocol has it"),
    ],
)
def test_a_malformed_body_has_one_sentence_and_the_connection_goes_on(
    call: Caller, digit: bytes, document: bytes, binary: bytes, headers: dict[str, str], words: str
) -> None:
    answer = call(INFER, document + binary, **headers)
    problem = answer.json
    assert answer.status == problem["status"] == 400 and words in problem["error"] == problem["detail"]
    assert call.infer(picture(digit), raw_bytes([digit])).status == 200


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "pixels"}, "model lenet takes one input, 'image', but the request holds 'pixels'"),
        ({"datatype": "FP32"}, "input image is FP32, but must be BYTES"),
        ({"shape": [2]}, "input image holds 1 elements, but its shape [2] means 2"),
        ({"shape": [0]}, "input image has the shape [0], but must have [n, 1]"),
        ({"shape": [-1]}, "input image has the shape [-1], but must have [n, 1]"),
        ({"shape": [1025]}, "the request holds 1025 images, but 1024 are the most"),
        ({"parameters": {"shared_memory_region": "mine"}}, "is in shared memory, which is not served"),
    ],
)
def test_what_grpc_refuses_is_refused_with_its_sentence(
    call: Caller, digit: bytes, changed: dict[str, Any], words: str
) -> None:
    document = picture(digit)
    document["inputs"][0] |= changed
    binary = [] if "parameters" in changed else [raw_bytes([digit])]
    answer = call.infer(document, *binary)
    assert answer.status == 400 and words in answer.json["error"]
    assert answer.headers["content-type"] == "application/json", "KServe's SDK shows the sentence of no other type"


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress), ("x-gzip", gzip.compress)]
)
def test_a_compressed_body_is_inflated_within_bounds(call: Caller, digit: bytes, coding: str, compress: Any) -> None:
    head = json.dumps(picture(digit)).encode()
    sizes = {JSON_SIZE: str(len(head)), "Content-Encoding": coding}
    body = compress(head + raw_bytes([digit]))
    assert call(INFER, body, **sizes).status == 200
    short, broken, huge = body[:-5], b"no stream", compress(bytes(5 << 20))
    for sent, words in ((short, "ends early"), (broken, "is no valid"), (huge, "inflates to more than")):
        answer = call(INFER, sent, **sizes)
        assert answer.status == 400 and words in answer.json["error"]


def test_an_unknown_coding_is_refused_and_the_known_ones_are_named(call: Caller) -> None:
    answer = call(INFER, b"x", Content_Encoding="br")
    assert answer.status == 415 and answer.headers["accept-encoding"] == "gzip, deflate"


def test_a_large_answer_is_compressed_for_callers_that_take_it(call: Caller, pictures: Path) -> None:
    encoded, path = (pictures / "coffee.jpg").read_bytes(), "/v2/models/efficientnet_lite0/infer"
    answers = [call(path, encoded, **{JSON_SIZE: "0", "Accept-Encoding": coding}) for coding in ("identity", "gzip")]
    plain, packed = answers
    assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body


def test_a_deadline_that_cannot_be_met_is_told_whether_it_is_the_requests_or_the_headers(
    call: Caller, digit: bytes
) -> None:
    hurried = call.infer(picture(digit, parameters={"timeout": 1}), raw_bytes([digit]))
    assert hurried.status == 504 and hurried.json["code"] == "DEADLINE_EXCEEDED"
    late = call.infer(picture(digit), raw_bytes([digit]), X_Timeout_Seconds="0.000001")
    assert late.json["code"] == "DEADLINE_EXCEEDED"  # with 408 if it passes while the body comes


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/v2/logging", "LogSettings"),
        ("/v2/trace/setting", "TraceSetting"),
        ("/v2/models/lenet/trace/setting", "TraceSetting"),
        ("/v2/systemsharedmemory/status", "SystemSharedMemoryStatus"),
        ("/v2/systemsharedmemory/region/mine/register", "SystemSharedMemoryRegister"),
        ("/v2/cudasharedmemory/region/mine/unregister", "CudaSharedMemoryUnregister"),
    ],
)
def test_what_is_not_served_is_refused_with_the_reason_of_grpc(call: Caller, path: str, reason: str) -> None:
    for answer in (call(path), call(path, b"{}")):
        assert answer.status == 501 and answer.json["error"] == REASONS[reason]


def test_paths_and_methods_that_are_none_are_told_apart(call: Caller) -> None:
    assert call(INFER).status == 405 and call("/v2/nothing").status == 404
    assert call("/v2/models/lenet/versions/2").status == call("/v2/models/nobody/config").status == 404


def test_a_model_that_is_not_served_is_not_ready(call: Caller) -> None:
    ready, missing = call("/v2/models/lenet/versions/1/ready"), call("/v2/models/nobody/ready")
    assert (ready.status, ready.json) == (200, {"name": "lenet", "ready": True})
    assert (missing.status, missing.json) == (503, {"name": "nobody", "ready": False})


def test_tokens_and_rights_are_those_of_grpc(repository: Path, tmp_path: Path, digit: bytes) -> None:
    tokens = {name: secrets.token_urlsafe(24) for name in ("camera", "boss")}
    lines = [f"{name} {right} {tokens[name]}\n" for name, right in (("camera", "infer"), ("boss", "admin"))]
    (tmp_path / "tokens").write_text("".join(lines))
    (tmp_path / "tokens").chmod(0o600)
    flags = ["--models", "lenet", "--http-port", "0", "--token-file", str(tmp_path / "tokens"), "--insecure"]
    with ForkedServer("--repository", str(repository), *flags) as server, closing(Caller(server)) as call:
        camera, boss = ({"Authorization": f"Bearer {token}"} for token in tokens.values())
        for path in ("/v2/health/live", "/v2/health/ready", "/v2", "/v2/models/lenet/ready", "/v2/logging"):
            assert call(path).status == 401, f"{path} needs a token, as its method of gRPC does"
        assert call("/readyz").status == 200
        with grpc.insecure_channel(server.target) as channel, pytest.raises(grpc.RpcError, match="asks for a token"):
            kserve_grpc.GRPCInferenceServiceStub(channel).ServerReady(kserve.ServerReadyRequest())
        assert call("/v2/health/ready", **camera).json == {"ready": True}
        assert call.infer(picture(digit), raw_bytes([digit]), **camera).status == 200
        for verb in ("load", "unload"):
            assert call(f"/v2/repository/models/lenet/{verb}", b"", **camera).status == 403
        assert call("/v2/repository/models/lenet/unload", b"", **boss).status == 200
        assert call("/v2/models/lenet/ready", **camera).status == 503
        (entry,) = call("/v2/repository/index", b"", **camera).json
        assert entry["state"] == "UNAVAILABLE"
        assert call("/v2/repository/index", b'{"ready": true}', **camera).json == []
        assert call("/v2/repository/models/lenet/load", b"{}", **boss).status == 200
        assert call("/v2/models/lenet/ready", **camera).status == 200


def test_each_image_of_a_request_is_charged(repository: Path, digit: bytes) -> None:
    flags = ["--models", "lenet", "--http-port", "0", "--rate-limit", "0.001", "--rate-burst", "6"]
    four = picture(digit)
    four["inputs"][0] |= {"shape": [4], "parameters": {"binary_data_size": len(raw_bytes([digit] * 4))}}
    with ForkedServer("--repository", str(repository), *flags) as server, closing(Caller(server)) as call:
        assert call.infer(four, raw_bytes([digit] * 4)).status == 200
        refused = call.infer(four, raw_bytes([digit] * 4))
        assert refused.status == 429 and int(refused.headers["retry-after"]) > 60
