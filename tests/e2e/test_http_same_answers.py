"""What HTTP answers is what gRPC answers: every field of it, and code, sentence and details of each kind of error."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import grpc
import numpy
import pytest
from google.protobuf import json_format
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from tests.e2e.forked_server import ForkedServer
from tests.e2e.http_calls import Answer, send

from linnaeus.server.http.bodies.json_messages import to_json
from linnaeus.server.http.bodies.json_reader import from_json
from linnaeus.server.http.problems import STATUSES
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

pytestmark = pytest.mark.slow

FORM = "multipart/form-data; boundary=limit"
PART = b'--limit\r\nContent-Disposition: form-data; name="f"; filename="%b"\r\n\r\n%b\r\n'
MODEL = "efficientnet_lite0"
Kind = TypeVar("Kind", bound=Message)

# By what is wrong: the fields of a ClassifyRequest beside its picture, and the picture if it is not a digit.
WRONG: dict[str, tuple[dict[str, Any], bytes | None]] = {
    "no picture": ({}, b"no picture"),
    "an empty picture": ({}, b""),
    "a picture that ends early": ({}, b"\xff\xd8\xff\xe0\x00\x10JFIF"),
    "an unknown model": ({"model": "nosuch"}, None),
    "an unknown version": ({"model": "lenet", "version": "7"}, None),
    "a version that can be none": ({"model": "lenet", "version": "1.0"}, None),
    "a path for a name": ({"model": "../lenet"}, None),
    "no model of two": ({"model": ""}, None),
    "top_k below zero": ({"top_k": -1}, None),
    "a probability above one": ({"min_probability": 2.0}, None),
    "features of a model without": ({"model": "lenet", "want_features": True}, None),
}


@pytest.fixture(scope="module", params=["0", "2"])
def server(request: pytest.FixtureRequest, repository: Path) -> Iterator[ServerProcess]:
    arguments = ("--repository", str(repository), "--http-port", "0", "--front-ends", request.param)
    # one image a batch: the last bits of an answer depend on the size of its batch
    with ForkedServer(*arguments, "--max-batch-images", "4", "--max-batch-size", "1") as process:
        yield process


@pytest.fixture
def stubs(server: ServerProcess) -> Iterator[tuple[Any, Any]]:
    with grpc.insecure_channel(server.target) as channel:
        yield v1_grpc.ClassifierServiceStub(channel), v1_grpc.ModelServiceStub(channel)


def post_json(server: ServerProcess, message: Message, path: str = "/v1/models:classify", **headers: str) -> Answer:
    body = json.dumps(to_json(message)).encode()
    return send(server.http_port, path, "POST", body, Content_Type="application/json", **headers)


def read(answer: Answer, message: Kind) -> Kind:
    assert answer.status == 200, answer.body
    return from_json(answer.json, message)


def without_times(response: Any) -> Any:
    """Returns a response without what differs from call to call: times, and who rode in the same batch."""
    parts = (
        [result.classification for result in response.results if result.HasField("classification")]
        if isinstance(response, v1.ClassifyBatchResponse)
        else [response]
    )
    for part in parts:
        part.ClearField("timings")
        part.ClearField("batch_size")
    return response


def problem_by_grpc(call: Any, message: Message, **options: Any) -> status_pb2.Status:
    with pytest.raises(grpc.RpcError) as raised:
        call(message, timeout=30, **options)
    trailer = dict(raised.value.trailing_metadata())["grpc-status-details-bin"]
    return status_pb2.Status.FromString(trailer)


def assert_same_problem(answer: Answer, by_grpc: status_pb2.Status) -> None:
    problem = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status == problem["status"] == STATUSES[by_grpc.code]
    assert problem["code"] == code_pb2.Code.Name(by_grpc.code)
    assert problem["detail"] == by_grpc.message
    details = [json_format.MessageToDict(each, preserving_proto_field_name=True) for each in by_grpc.details]
    assert problem["details"] == details


@pytest.mark.parametrize("name", ["coffee.jpg", "chelsea.jpg", "digits/7.png"])
def test_a_picture_has_the_same_answer_however_it_is_sent(
    server: ServerProcess, stubs: tuple[Any, Any], pictures: Path, name: str
) -> None:
    encoded = (pictures / name).read_bytes()
    request = v1.ClassifyRequest(image=v1.Image(encoded=encoded, id="a"), model=MODEL, top_k=1000)
    expected = without_times(stubs[0].Classify(request, timeout=60))
    path = f"/v1/models/{MODEL}:classify?top_k=1000"
    assert without_times(read(post_json(server, request), v1.ClassifyResponse())) == expected
    form = send(server.http_port, path, "POST", PART % (b"a", encoded) + b"--limit--", Content_Type=FORM)
    (result,) = without_times(read(form, v1.ClassifyBatchResponse())).results
    assert list(result.classification.classes) == list(expected.classes) and result.image_id == "a"
    version = f"/v1/models/{MODEL}/versions/{expected.version}:classify?top_k=1000"
    expected.image_id = ""
    for raw in (send(server.http_port, path, "POST", encoded), send(server.http_port, version, "POST", encoded)):
        assert without_times(read(raw, v1.ClassifyResponse())) == expected
        floats = [each["probability"] for each in raw.json["classes"]]
        assert numpy.array(floats, "<f4").tobytes() == probabilities(expected.classes)


def probabilities(classes: Sequence[v1.ScoredClass]) -> bytes:
    return numpy.array([each.probability for each in classes], "<f4").tobytes()


def test_pixels_have_the_same_answer(server: ServerProcess, stubs: tuple[Any, Any]) -> None:
    pixels = v1.RawPixels(data=bytes(range(256)) * 12, height=32, width=32, channels=3)
    request = v1.ClassifyRequest(image=v1.Image(pixels=pixels), model=MODEL)
    expected = without_times(stubs[0].Classify(request, timeout=60))
    assert without_times(read(post_json(server, request), v1.ClassifyResponse())) == expected


def test_a_batch_has_the_same_answers_and_the_same_errors_of_its_images(
    server: ServerProcess, stubs: tuple[Any, Any], pictures: Path
) -> None:
    digit = (pictures / "digits" / "7.png").read_bytes()
    contents = [digit, b"no picture", b"", digit]
    images = [v1.Image(encoded=content, id=str(number)) for number, content in enumerate(contents)]
    request = v1.ClassifyBatchRequest(images=images, model="lenet", top_k=3)
    expected = without_times(stubs[0].ClassifyBatch(request, timeout=60))
    assert without_times(read(post_json(server, request), v1.ClassifyBatchResponse())) == expected
    form = b"".join(PART % (image.id.encode(), image.encoded) for image in images) + b"--limit--"
    by_form = send(server.http_port, "/v1/models/lenet:classify?top_k=3", "POST", form, Content_Type=FORM)
    assert without_times(read(by_form, v1.ClassifyBatchResponse())) == expected
    assert [result.WhichOneof("outcome") is not None for result in expected.results] == [True] * 4


@pytest.mark.parametrize("name", WRONG)
def test_what_grpc_refuses_is_refused_with_its_code_sentence_and_details(
    server: ServerProcess, stubs: tuple[Any, Any], pictures: Path, name: str
) -> None:
    fields, content = WRONG[name]
    encoded = (pictures / "digits" / "7.png").read_bytes() if content is None else content
    request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), **{"model": "lenet"} | fields)
    expected = problem_by_grpc(stubs[0].Classify, request)
    assert_same_problem(post_json(server, request), expected)
    if content is not None:
        assert_same_problem(send(server.http_port, "/v1/models/lenet:classify", "POST", encoded), expected)


def test_batches_and_models_are_refused_alike(server: ServerProcess, stubs: tuple[Any, Any]) -> None:
    classifier, models = stubs
    for images in ([], [v1.Image()] * 5):
        request = v1.ClassifyBatchRequest(images=images, model="lenet")
        document = {"images": [{}] * len(images), "model": "lenet"}
        answer = send(
            server.http_port,
            "/v1/models:classify",
            "POST",
            json.dumps(document).encode(),
            Content_Type="application/json",
        )
        assert_same_problem(answer, problem_by_grpc(classifier.ClassifyBatch, request))
    for path, call, message in (
        ("nosuch", classifier.GetModel, v1.GetModelRequest(model="nosuch")),
        ("lenet/versions/9", classifier.GetModel, v1.GetModelRequest(model="lenet", version="9")),
    ):
        assert_same_problem(send(server.http_port, f"/v1/models/{path}"), problem_by_grpc(call, message))
    for path, call, message in (
        ("nosuch:load", models.LoadModel, v1.LoadModelRequest(model="nosuch")),
        ("nosuch:unload", models.UnloadModel, v1.UnloadModelRequest(model="nosuch")),
        ("nosuch:reload", models.ReloadModel, v1.ReloadModelRequest(model="nosuch")),
        (
            "lenet/versions/9:setDefault",
            models.SetDefaultVersion,
            v1.SetDefaultVersionRequest(model="lenet", version="9"),
        ),
    ):
        assert_same_problem(send(server.http_port, f"/v1/models/{path}", "POST", b""), problem_by_grpc(call, message))


def test_models_are_described_alike(server: ServerProcess, stubs: tuple[Any, Any]) -> None:
    listed = read(send(server.http_port, "/v1/models"), v1.ListModelsResponse())
    assert listed == stubs[0].ListModels(v1.ListModelsRequest(), timeout=30)
    described = read(send(server.http_port, "/v1/models/lenet"), v1.GetModelResponse())
    assert described.model == listed.models[[each.name for each in listed.models].index("lenet")]
    assert list(described.labels) == [str(digit) for digit in range(10)]


def test_a_deadline_that_cannot_be_met_is_told_alike(
    server: ServerProcess, stubs: tuple[Any, Any], pictures: Path
) -> None:
    """The predicted times differ from call to call; code and reason do not."""
    encoded = (pictures / "coffee.jpg").read_bytes()
    request = v1.ClassifyRequest(image=v1.Image(encoded=encoded), model=MODEL)
    read(post_json(server, request), v1.ClassifyResponse())  # by which the server knows how long it takes
    answer = post_json(server, request, X_Timeout_Seconds="0.0001")
    assert answer.status in (408, 504) and answer.json["code"] == "DEADLINE_EXCEEDED"


def test_an_unloaded_model_is_told_alike(server: ServerProcess, stubs: tuple[Any, Any], pictures: Path) -> None:
    """Runs last: unloads a model."""
    digit = (pictures / "digits" / "7.png").read_bytes()
    assert send(server.http_port, "/v1/models/lenet:unload", "POST", b"").status == 200
    request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet")
    assert_same_problem(post_json(server, request), problem_by_grpc(stubs[0].Classify, request))
    assert send(server.http_port, "/v1/models/lenet:load", "POST", b"").status == 200
    read(post_json(server, request), v1.ClassifyResponse())
