"""`classify_many` of both clients: an image that fails does not affect the others, options are sent, calls overlap."""

import io
import json
import threading
from pathlib import Path

import grpc
import numpy
import pytest
from PIL import Image
from tests.client.bulk.many_images import Counted

from linnaeus.client import AsyncClient, Client, InvalidImage


def test_an_image_that_fails_does_not_affect_the_others(run, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a file")
    images = [tmp_path / "cat.jpg", str(tmp_path / "missing.jpg"), b"", object(), b"bytes"]
    outcomes, failure = run(images)
    assert failure is None
    assert [outcome.ok for outcome in outcomes] == [True, False, False, False, True]
    assert [outcome.source for outcome in outcomes] == images
    assert outcomes[0].unwrap().top.label == "tabby, tabby cat"
    with pytest.raises(InvalidImage, match="there is no such file"):
        outcomes[1].unwrap()


def test_every_type_of_image_is_accepted(run, stub, tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"a file")
    array = numpy.arange(12, dtype=numpy.uint8).reshape(2, 2, 3)
    images = [tmp_path / "cat.jpg", b"bytes", io.BytesIO(b"a file object"), array, Image.fromarray(array)]
    outcomes, _ = run(images, concurrency=1)
    assert [outcome.ok for outcome in outcomes] == [True] * 5
    assert [image.encoded for image in stub.images[:3]] == [b"a file", b"bytes", b"a file object"]
    assert [image.pixels.data for image in stub.images[3:]] == [array.tobytes()] * 2
    assert [outcome.name for outcome in outcomes] == [str(tmp_path / "cat.jpg"), *(f"picture {n}" for n in range(1, 5))]


def test_every_option_is_sent(run, stub):
    run([b"a picture"], model="lenet", version=2, top_k=3, timeout_seconds=90)
    (request,) = stub.requests
    assert (request.model, request.version, request.top_k) == ("lenet", "2", 3)
    assert 80 < stub.seconds_remaining[0] < 91


def test_an_error_of_the_images_is_raised_after_the_outcomes_before_it(run):
    pictures = Counted(3, failure=ZeroDivisionError("theirs"))
    outcomes, failure = run(pictures, concurrency=8)
    assert [outcome.index for outcome in outcomes] == [0, 1, 2]
    assert isinstance(failure, ZeroDivisionError)


def test_unordered_outcomes_come_as_they_finish(run, stub, make_answer, patience_seconds):
    second_was_taken = threading.Event()

    def behaviour(request, context):
        if request.image.encoded == b"0":
            second_was_taken.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify, run.on_outcome = behaviour, second_was_taken.set
    assert [outcome.index for outcome in run(Counted(2), ordered=False)[0]] == [1, 0]


def test_ordered_outcomes_come_in_the_order_of_the_images(run, stub, make_answer, patience_seconds):
    second_is_done = threading.Event()

    def behaviour(request, context):
        if request.image.encoded == b"0":
            second_is_done.wait(patience_seconds)
        else:
            context.add_callback(second_is_done.set)
        return make_answer(request)

    stub.on_classify = behaviour
    assert [outcome.index for outcome in run(Counted(2))[0]] == [0, 1]


def test_concurrency_images_are_in_flight_at_once(run, stub, make_answer, patience_seconds):
    together = threading.Barrier(5)

    def behaviour(request, context):
        together.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    outcomes, _ = run(Counted(10), concurrency=5)
    assert all(outcome.ok for outcome in outcomes)


def test_a_closed_client_raises_instead_of_returning_outcomes(stub):
    client = Client(stub.target)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(client.classify_many([b"a picture"]))


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("arguments", "options", "kind", "told"),
    [
        ([b""], {"concurrency": 0}, ValueError, "concurrency"),
        ([b""], {"concurrency": True}, ValueError, "concurrency"),
        ([b""], {"timeout_seconds": -1}, ValueError, "timeout"),
        ("cat.jpg", {}, TypeError, "not str"),
        (Path("cat.jpg"), {}, TypeError, "iterable of pictures"),
        (io.BytesIO(b"one"), {}, TypeError, "not BytesIO"),
        (7, {}, TypeError, "not int"),
    ],
)
def test_an_invalid_argument_is_refused_before_anything_is_read(client, arguments, options, kind, told):
    with pytest.raises(kind, match=told):
        client("localhost:1").classify_many(arguments, **options)


def test_outcomes_are_converted_to_dicts(run, stub):
    good, bad = (outcome.to_dict() for outcome in run([b"a picture", b""])[0])
    assert json.loads(json.dumps([good, bad])) == [good, bad]
    assert good["elapsed_seconds"] > 0
    assert good["result"]["classes"][0] == {"index": 281, "label": "tabby, tabby cat", "probability": 0.75}
    assert good["result"]["timings"] == {"decode_seconds": 0.25, "queue_seconds": 0.5, "inference_seconds": 1.0}
    assert (good["index"], good["picture"], good["error"]) == (0, "picture 0", None)
    assert bad["result"] is None
    assert bad["error"] == {
        "type": "InvalidImage",
        "message": "the picture is empty: there are no bytes in it",
        "details": [],
    }


def test_an_error_of_the_server_is_an_outcome(run, stub):
    stub.fail(grpc.StatusCode.NOT_FOUND, "There is no model alexnet.")
    (outcome,), failure = run([b"a picture"], model="alexnet")
    assert failure is None
    assert str(outcome.error) == "There is no model alexnet."
