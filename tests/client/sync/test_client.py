"""The blocking client: requests, answers, and the checks of settings."""

import json
import math
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from linnaeus.client import Client, InvalidRequest, ModelState, ServerFailure
from linnaeus.v1 import classifier_pb2 as messages


@pytest.fixture
def client(stub):
    with Client(stub.target) as client:
        yield client


def test_every_argument_arrives_in_its_field(client, stub):
    client.classify(b"a picture", model="efficientnet_lite0", version=2, top_k=3, image_id="cat 1")
    assert stub.requests == [
        messages.ClassifyRequest(
            image=messages.Image(encoded=b"a picture", id="cat 1"), model="efficientnet_lite0", version="2", top_k=3
        )
    ]


def test_an_omitted_argument_is_left_to_the_server(client, stub):
    client.classify(b"a picture")
    assert stub.requests == [messages.ClassifyRequest(image=messages.Image(encoded=b"a picture"))]


def test_the_answer_comes_back_whole(client):
    result = client.classify(b"a picture", model="lenet", version="3", top_k=2, image_id="cat 1")
    assert (result.top.index, result.top.label, result.top.probability) == (281, "tabby, tabby cat", 0.75)
    assert [scored.label for scored in result.classes] == ["tabby, tabby cat", "tiger cat"]
    assert (result.model, result.version, result.batch_size, result.image_id) == ("lenet", 3, 4, "cat 1")
    timings = result.timings
    assert (timings.decode_seconds, timings.queue_seconds, timings.inference_seconds) == (0.25, 0.5, 1.0)


def test_an_answer_is_plain_data_on_request(client):
    plain = client.classify(b"a picture", top_k=1, image_id="cat 1").to_dict()
    assert plain == {
        "classes": [{"index": 281, "label": "tabby, tabby cat", "probability": 0.75}],
        "model": "lenet",
        "version": 3,
        "batch_size": 4,
        "timings": {"decode_seconds": 0.25, "queue_seconds": 0.5, "inference_seconds": 1.0},
        "image_id": "cat 1",
    }
    assert json.loads(json.dumps(plain)) == plain


def test_models_are_listed_with_their_fields(client, stub, make_model):
    refused = messages.Model(
        name="alexnet", version=1, state=messages.MODEL_STATE_FAILED, state_reason="manifest.json: no field input."
    )
    stub.on_list = lambda request, context: messages.ListModelsResponse(models=[refused, make_model()])
    alexnet, lenet = client.models()
    assert (alexnet.name, alexnet.state, alexnet.state_reason) == (
        "alexnet",
        "failed",
        "manifest.json: no field input.",
    )
    assert (alexnet.input, alexnet.weights, alexnet.untrained) == (None, None, False)
    assert (lenet.state, lenet.version, lenet.architecture) == (ModelState.READY, 3, "lenet5")
    assert (lenet.input.channels, lenet.input.height, lenet.input.width, lenet.input.resize) == (1, 28, 28, 28)
    assert (lenet.weights.source, lenet.weights.trained, lenet.input.interpolation) == ("mnist", True, "bilinear")
    assert (lenet.class_count, lenet.parameter_count, lenet.max_batch_size) == (3, 61_706, 64)
    assert (lenet.sha256, lenet.devices, lenet.labels) == ("ab" * 32, ("cuda:0",), ())


def test_one_model_comes_with_its_labels(client, stub):
    model = client.model("lenet", version=2)
    assert stub.requests == [messages.GetModelRequest(model="lenet", version="2")]
    assert (model.name, model.version, model.labels) == ("lenet", 2, ("cat", "dog", "newt"))


def test_a_model_is_plain_data_on_request(client):
    plain = client.model("lenet").to_dict()
    assert json.loads(json.dumps(plain)) == plain
    assert type(plain["state"]) is str
    assert (plain["input"]["channels"], plain["weights"]["trained"], plain["labels"][0]) == (1, True, "cat")


def test_a_state_that_is_not_known_yet_is_no_failure(client, stub, make_model):
    stub.on_list = lambda request, context: messages.ListModelsResponse(models=[make_model(state=99)])
    assert client.models()[0].state is ModelState.UNKNOWN


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (dict(top_k=-1), "top_k must be a whole number from 0"),
        (dict(top_k=2**31), "top_k must be a whole number"),
        (dict(top_k=True), "top_k must be a whole number"),
        (dict(top_k=1.5), "top_k must be a whole number"),
        (dict(version=0), "version must be a whole number from 1"),
        (dict(version=1.0), "version must be a whole number from 1"),
        (dict(version=True), "version must be a whole number from 1"),
        (dict(model=None), "model must be a string, not None"),
        (dict(model="\udcff"), "model must be text that UTF-8 can hold"),
        (dict(image_id=7), "image_id must be a string, not 7"),
    ],
)
def test_an_argument_that_fits_no_field_is_refused_before_anything_is_sent(client, stub, call, sentence):
    with pytest.raises(InvalidRequest, match=sentence):
        client.classify(b"a picture", **call)
    assert stub.requests == []


def test_the_deadline_travels_with_the_call(stub):
    with Client(stub.target, timeout_seconds=40) as client:
        client.classify(b"a picture")
        client.classify(b"a picture", timeout_seconds=90)
        client.models()
    ours, its_own, listing = stub.seconds_remaining
    # On the wire a timeout has two or three digits, rounded up.
    assert 30 < ours < 41
    assert 80 < its_own < 91
    assert 30 < listing < 41


def test_the_client_waits_thirty_seconds_unless_told_otherwise(stub, client):
    client.classify(b"a picture")
    assert 20 < stub.seconds_remaining[0] < 31


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, 1e10, "30", True])
def test_a_timeout_out_of_range_is_refused(stub, client, timeout):
    with pytest.raises(ValueError, match="timeout_seconds must be above 0"):
        Client(stub.target, timeout_seconds=timeout)
    with pytest.raises(ValueError, match="timeout_seconds must be above 0"):
        client.classify(b"a picture", timeout_seconds=timeout)
    assert stub.requests == []


@pytest.mark.parametrize(
    "target",
    [
        "localhost:8001",
        "linnaeus.example:1",
        "127.0.0.1:65535",
        "[::1]:8001",
        "dns:8001",
        "dns:///linnaeus.example:8001",
        "unix:/run/linnaeus.sock",
        "unix:///run/linnaeus.sock",
        "ipv4:127.0.0.1:8001,127.0.0.1:8002",
    ],
)
def test_an_address_may_be_host_and_port_or_any_grpc_target(target):
    Client(target).close()


@pytest.mark.parametrize(
    "target",
    [
        "",
        "localhost",
        "localhost:",
        ":8001",
        "::1",
        "::1:8001",
        "local host:8001",
        "localhost:80a",
        "a:b:8001",
        None,
        8001,
    ],
)
def test_a_malformed_address_is_refused_with_an_example(target):
    with pytest.raises(ValueError, match=r"must be HOST:PORT, such as localhost:8001, not "):
        Client(target)


@pytest.mark.parametrize("target", ["::1", "::1:8001", "fe80::1%eth0:8001"])
def test_an_ipv6_address_without_brackets_gets_a_hint(target):
    with pytest.raises(ValueError, match=r"stands in brackets, as in \[::1\]:8001$"):
        Client(target)


@pytest.mark.parametrize("target", ["http://localhost:8001", "https://localhost", "grpc://localhost:8001"])
def test_a_web_address_has_its_own_message(target):
    with pytest.raises(ValueError, match="without a scheme"):
        Client(target)


@pytest.mark.parametrize("target", ["localhost:0", "localhost:65536"])
def test_a_port_out_of_range_is_refused(target):
    with pytest.raises(ValueError, match="from 1 to 65535"):
        Client(target)


@pytest.mark.parametrize("limit", [0, -1, 1.5])
def test_a_message_limit_out_of_range_is_refused(limit):
    with pytest.raises(ValueError, match="max_message_bytes must be a number above 0"):
        Client("localhost:8001", max_message_bytes=limit)


def test_a_proxy_in_the_environment_is_not_used(stub, silent_target, monkeypatch):
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, f"http://{silent_target}")
    for name in ("no_proxy", "NO_PROXY", "no_grpc_proxy"):
        monkeypatch.delenv(name, raising=False)
    with Client(stub.target) as client:
        client.classify(b"a picture")
    assert len(stub.requests) == 1


def test_threads_share_a_client(stub, client, make_answer, patience_seconds):
    together = threading.Barrier(8)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    with ThreadPoolExecutor(8) as threads:
        names = [str(number) for number in range(8)]
        results = list(threads.map(lambda name: client.classify(b"a picture", image_id=name), names))
    assert [result.image_id for result in results] == names


def test_a_closed_client_says_so(stub):
    client = Client(stub.target)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="this Client is closed"):
        client.classify(b"a picture")


def test_closing_ends_a_call_in_flight(stub, patience_seconds):
    arrived, gone = threading.Event(), threading.Event()

    def behaviour(request, context):
        context.add_callback(gone.set)
        arrived.set()
        gone.wait(patience_seconds)

    stub.on_classify = behaviour
    client = Client(stub.target)
    with ThreadPoolExecutor(1) as threads:
        call = threads.submit(client.classify, b"a picture")
        assert arrived.wait(patience_seconds)
        client.close()
        assert isinstance(call.exception(patience_seconds), ServerFailure)
    assert gone.wait(patience_seconds)
