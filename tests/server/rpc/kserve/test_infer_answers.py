"""`ModelInfer` and `ModelStreamInfer` answer like `Classify`, in the outputs that the request wants."""

import time

import numpy
import pytest
from tests.server.rpc.kserve.served_inference import (
    Served,
    classification_output,
    encoded_request,
    pixel_request,
    probabilities_of,
    texts_of,
)

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.requests.request import Priority
from linnaeus.v1 import classifier_pb2 as v1

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_both_services_give_the_same_answer_for_the_same_image(served: Served, digits: list[bytes]) -> None:
    for digit in digits:
        request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet", top_k=10)
        native = {each.index: each.probability for each in (await served.native.Classify(request)).classes}
        (row,) = probabilities_of(await served.infer.ModelInfer(encoded_request([digit])))
        assert row.tolist() == [native[index] for index in range(10)]


async def test_text_outputs_have_probability_index_and_label_in_descending_order(
    served: Served, digits: list[bytes]
) -> None:
    answer = await served.infer.ModelInfer(encoded_request(digits[:2], **classification_output(3)))
    probabilities = probabilities_of(await served.infer.ModelInfer(encoded_request(digits[:2])))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 3])
    rows = [text.split(":") for text in texts_of(answer)]
    for row, (value, index, label) in zip(numpy.repeat(probabilities, 3, axis=0), rows, strict=True):
        assert numpy.float32(value) == row[int(index)] and label == index and "e" not in value
    assert [row[1] for row in rows[::3]] == ["0", "1"]


async def test_a_request_for_more_classes_than_exist_returns_all_classes(served: Served, digits: list[bytes]) -> None:
    answer = await served.infer.ModelInfer(encoded_request(digits[:1], **classification_output(99)))
    assert list(answer.outputs[0].shape) == [1, 10] and len(texts_of(answer)) == 10


async def test_typed_and_raw_contents_give_the_same_answer(served: Served, digits: list[bytes]) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2, 1], "contents": {"bytes_contents": digits[:2]}}
    typed = await served.infer.ModelInfer(encoded_request([], inputs=[tensor], raw_input_contents=[]))
    raw = await served.infer.ModelInfer(encoded_request(digits[:2]))
    assert (probabilities_of(typed) == probabilities_of(raw)).all()
    data = pixel_request().raw_input_contents[0]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 28, 28], "contents": {"uint_contents": list(data)}}
    typed = await served.infer.ModelInfer(pixel_request(inputs=[tensor], raw_input_contents=[]))
    assert (probabilities_of(typed) == probabilities_of(await served.infer.ModelInfer(pixel_request()))).all()


async def test_both_services_give_the_same_answer_for_the_same_pixels(served: Served) -> None:
    data = pixel_request().raw_input_contents[0]
    image = v1.Image(pixels=v1.RawPixels(data=data, height=28, width=28, channels=1))
    native = await served.native.Classify(v1.ClassifyRequest(image=image, model="lenet", top_k=10))
    (row,) = probabilities_of(await served.infer.ModelInfer(pixel_request()))
    assert row.tolist() == [each.probability for each in sorted(native.classes, key=lambda each: each.index)]


async def test_all_images_of_a_request_go_to_the_version_resolved_at_its_arrival(
    served: Served, digits: list[bytes]
) -> None:
    count_before = len(served.engine.requests)
    await served.infer.ModelInfer(encoded_request(digits[:2]))
    assert [request.version for request in served.engine.requests[count_before:]] == ["1", "1"]


async def test_the_response_contains_request_id_model_and_version(served: Served, digits: list[bytes]) -> None:
    answer = await served.infer.ModelInfer(encoded_request(digits[:1], id="mine", model_version="1"))
    assert (answer.id, answer.model_name, answer.model_version) == ("mine", "lenet", "1")
    assert (await served.infer.ModelInfer(pixel_request())).model_name == "lenet.pixels"


@pytest.mark.parametrize(
    ("level", "expected"),
    [(0, Priority.NORMAL), (1, Priority.HIGH), (2, Priority.NORMAL), (3, Priority.LOW), (99, Priority.LOW)],
)
@pytest.mark.parametrize("kind", ["uint64_param", "int64_param"])
async def test_priority_level_one_is_the_highest(
    served: Served, digits: list[bytes], kind: str, level: int, expected: Priority
) -> None:
    await served.infer.ModelInfer(
        encoded_request(digits[:1], parameters={"priority": kserve.InferParameter(**{kind: level})})
    )
    assert served.last.priority is expected


async def test_the_earlier_of_timeout_and_deadline_holds(served: Served, digits: list[bytes]) -> None:
    def request_with_timeout(microseconds: int) -> kserve.ModelInferRequest:
        return encoded_request(digits[:1], parameters={"timeout": kserve.InferParameter(int64_param=microseconds)})

    began = time.monotonic()
    await served.infer.ModelInfer(request_with_timeout(50_000_000))
    assert served.last.deadline is not None and 50 <= served.last.deadline - began < 100
    await served.infer.ModelInfer(request_with_timeout(50_000_000), timeout=20_000)
    assert served.last.deadline is not None and 50 <= served.last.deadline - began < 100
    await served.infer.ModelInfer(request_with_timeout(90_000_000_000), timeout=600)
    assert served.last.deadline is not None and 500 < served.last.deadline - began < 1000
    await served.infer.ModelInfer(request_with_timeout(0))
    assert served.last.deadline is None


async def test_a_stream_answers_each_request_and_survives_an_invalid_one(served: Served, digits: list[bytes]) -> None:
    sent = [
        encoded_request([digits[0]], id="a"),
        encoded_request([b"no picture"], id="b"),
        encoded_request([digits[1]], id="c"),
    ]
    answers = [answer async for answer in served.infer.ModelStreamInfer(iter(sent))]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert [int(probabilities_of(answers[index].infer_response).argmax()) for index in (0, 2)] == [0, 1]


async def test_classes_below_min_probability_are_empty_texts_and_probabilities_of_0(
    served: Served, digits: list[bytes]
) -> None:
    every = probabilities_of(await served.infer.ModelInfer(encoded_request(digits[:2])))
    bound = float(numpy.sort(every, axis=1)[:, -2].max())
    for value in (
        kserve.InferParameter(double_param=bound),
        kserve.InferParameter(double_param=numpy.nextafter(bound, 1).item()),
    ):
        request = encoded_request(digits[:2], parameters={"min_probability": value})
        reached = probabilities_of(await served.infer.ModelInfer(request))
        assert (reached == numpy.where(every >= bound, every, 0)).all() and 2 < (reached > 0).sum() < 20
    request = encoded_request(
        digits[:2],
        parameters={"min_probability": kserve.InferParameter(double_param=bound)},
        **classification_output(4),
    )
    texts = texts_of(await served.infer.ModelInfer(request))
    assert len(texts) == 8 and sum(map(bool, texts)) == (every >= bound).sum()


async def test_a_call_is_charged_for_its_images_beyond_the_first_and_a_stream_for_all(
    served: Served, digits: list[bytes]
) -> None:
    served.charges.clear()
    await served.infer.ModelInfer(encoded_request(digits[:3]))
    assert served.charges == [2]
    sent = [encoded_request(digits[:count]) for count in (2, 1)]
    assert len([answer async for answer in served.infer.ModelStreamInfer(iter(sent))]) == 2
    assert served.charges == [2, 2, 1]
