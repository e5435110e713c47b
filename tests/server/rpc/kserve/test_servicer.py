"""GRPCInferenceService over a real connection with a real engine, beside ClassifierService: both answer alike."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.server.rpc.call_observers import NullCallObserver

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.kserve.inputs import MAX_IMAGES
from linnaeus.server.rpc.kserve.model_names import engine_model_name
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.tensors import raw_bytes
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")


class RecordingEngine:
    """An engine that records its requests."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.requests: list[Request] = []
        self.lost_devices: set[str] = set()

    @property
    def catalog(self) -> Catalog:
        return self.engine.catalog

    @property
    def device_states(self) -> dict[str, bool]:
        return {name: works and name not in self.lost_devices for name, works in self.engine.device_states.items()}

    @property
    def closing(self) -> asyncio.Event:
        return self.engine.closing

    async def classify(self, request: Request) -> Classification:
        self.requests.append(request)
        return await self.engine.classify(request)

    async def classify_many(self, requests: Sequence[Request]) -> list[Outcome]:
        self.requests += requests
        return await self.engine.classify_many(requests)


class RecordingModelManager:
    """A model manager that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def load_model(self, name: str) -> None:
        self.calls.append(("load", name))

    async def unload_model(self, name: str) -> None:
        self.calls.append(("unload", name))


@dataclass
class Served:
    infer: Any
    native: Any
    engine: RecordingEngine
    health: list[bool] = field(default_factory=lambda: [True])
    stopping: list[bool] = field(default_factory=lambda: [False])

    @property
    def last(self) -> Request:
        return self.engine.requests[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(repository: Path) -> AsyncIterator[Served]:
    statistics = Statistics()
    # One image per batch: then the same image gives bit-identical answers in every call.
    settings = Settings(
        repository=repository, models="lenet", device="cpu", max_batch_size=1, streams=1, max_queue_size=8
    )
    inner_engine = Engine(settings, statistics)
    await inner_engine.load()
    inner_engine.catalog.put(Entry("broken", 1, ModelState.FAILED, "manifest.json is missing"))
    engine, health, stopping = RecordingEngine(inner_engine), [True], [False]
    server = grpc.aio.server()
    intercepted: Any = InterceptedServer(server, NullCallObserver())
    servicer = InferenceServicer(
        engine,  # type: ignore[arg-type]
        statistics,
        "9.9",
        is_ready=lambda: health[0],
        model_manager=inner_engine.model_manager,
        is_stopping=lambda: stopping[0],
    )
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, intercepted)
    v1_grpc.add_ClassifierServiceServicer_to_server(
        ClassifierServicer(inner_engine, v1.ServerLimits(), "9.9"), intercepted
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = kserve_grpc.GRPCInferenceServiceStub(channel)
        yield Served(infer, v1_grpc.ClassifierServiceStub(channel), engine, health, stopping)
    await server.stop(None)
    await inner_engine.close()


@pytest.fixture
def digits(pictures: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]


def encoded_request(elements: list[bytes], **fields: Any) -> kserve.ModelInferRequest:
    """A request for `lenet` with raw contents."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(elements)]}
    return kserve.ModelInferRequest(
        **{"model_name": "lenet", "inputs": [tensor], "raw_input_contents": [raw_bytes(elements)], **fields}
    )


def pixel_request(count: int = 1, datatype: str = "UINT8", shape: list[int] | None = None, **fields: Any) -> Any:
    """A request for `lenet.pixels` with raw contents."""
    tensor = {"name": "pixels", "datatype": datatype, "shape": shape or [count, 1, 28, 28]}
    raw = {"raw_input_contents": [bytes(range(256)) * 3 + bytes(16)] * 1} if count == 1 else {}
    return kserve.ModelInferRequest(**{"model_name": "lenet.pixels", "inputs": [tensor], **raw, **fields})


def probabilities_of(response: kserve.ModelInferResponse) -> numpy.ndarray:
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    return numpy.frombuffer(response.raw_output_contents[0], "<f4").reshape(tuple(output.shape))


def texts_of(response: kserve.ModelInferResponse) -> list[str]:
    raw, texts = response.raw_output_contents[0], []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        texts.append(raw[4:end].decode())
        raw = raw[end:]
    return texts


def classification_output(count: int) -> dict[str, Any]:
    output = kserve.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    output.parameters["classification"].int64_param = count
    return {"outputs": [output]}


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""


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


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize("name", ["nobody", "nobody.pixels", "broken", ".pixels"])
async def test_a_model_that_is_not_served_is_not_found(served: Served, method: str, name: str) -> None:
    field_name = "model_name" if method == "ModelInfer" else "name"
    request = getattr(kserve, f"{method}Request")(**{field_name: name})
    code, message = await refusal(getattr(served.infer, method)(request))
    assert code is grpc.StatusCode.NOT_FOUND and name.removesuffix(".pixels") in message


async def test_model_ready_is_true_exactly_for_served_versions(served: Served) -> None:
    async def ready(name: str, version: str = "") -> bool:
        return bool((await served.infer.ModelReady(kserve.ModelReadyRequest(name=name, version=version))).ready)

    assert await ready("lenet") and await ready("lenet.pixels", "1")
    for name, version in (("lenet", "2"), ("lenet", "x"), ("broken", ""), ("nobody", "")):
        assert not await ready(name, version)


async def test_server_ready_follows_the_health(served: Served) -> None:
    request = kserve.ServerReadyRequest()
    assert (await served.infer.ServerReady(request)).ready
    served.health[0] = False
    assert not (await served.infer.ServerReady(request)).ready
    assert (await served.infer.ServerLive(kserve.ServerLiveRequest())).live
    served.health[0] = True


async def test_metadata_and_configuration_agree_on_one_input_and_one_output(served: Served) -> None:
    for name, datatype, shape in (("lenet", "BYTES", [1]), ("lenet.pixels", "UINT8", [1, 28, 28])):
        metadata = await served.infer.ModelMetadata(kserve.ModelMetadataRequest(name=name))
        config = (await served.infer.ModelConfig(kserve.ModelConfigRequest(name=name))).config
        assert (metadata.name, config.name, list(metadata.versions)) == (name, name, ["1"])
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.inputs] == [
            (config.input[0].name, datatype, [-1, *config.input[0].dims])
        ]
        assert list(config.input[0].dims) == shape and len(config.input) == len(config.output) == 1
        assert [(each.name, each.datatype, list(each.shape)) for each in metadata.outputs] == [
            (config.output[0].name, "FP32", [-1, *config.output[0].dims])
        ]
        assert list(config.output[0].dims) == [10] and config.max_batch_size == 1
        assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.input[0].format == kserve.ModelInput.FORMAT_NCHW


async def test_the_index_lists_failed_versions_with_their_reason(served: Served) -> None:
    index = await served.infer.RepositoryIndex(kserve.RepositoryIndexRequest())
    assert [(each.name, each.version, each.state, each.reason) for each in index.models] == [
        ("broken", "1", "UNAVAILABLE", "manifest.json is missing"),
        ("lenet", "1", "READY", ""),
    ]
    ready = await served.infer.RepositoryIndex(kserve.RepositoryIndexRequest(ready=True))
    assert [each.name for each in ready.models] == ["lenet"]


async def test_statistics_count_the_images_of_both_services(served: Served, digits: list[bytes]) -> None:
    async def stats() -> kserve.ModelStatistics:
        response = await served.infer.ModelStatistics(kserve.ModelStatisticsRequest(name="lenet.pixels"))
        (model_stats,) = response.model_stats
        return model_stats

    before = await stats()
    await served.infer.ModelInfer(encoded_request(digits[:3]))
    await served.native.Classify(v1.ClassifyRequest(image=v1.Image(encoded=digits[0]), model="lenet"))
    await refusal(served.infer.ModelInfer(encoded_request([b"no picture"])))
    after = await stats()
    assert (after.name, after.version) == ("lenet.pixels", "1")
    assert after.inference_count - before.inference_count == 4
    assert after.execution_count - before.execution_count == 4  # this engine's batches have one image
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_stats.fail.ns > before.inference_stats.fail.ns
    stages = after.inference_stats
    stage_sum = stages.queue.ns + stages.compute_input.ns + stages.compute_infer.ns + stages.compute_output.ns
    assert 0 < stage_sum <= stages.success.ns
    (batches_of_one,) = after.batch_stats
    assert batches_of_one.compute_infer.ns >= stages.compute_infer.ns  # the batch ends after its images' inference
    all_models = await served.infer.ModelStatistics(kserve.ModelStatisticsRequest())
    assert [each.name for each in all_models.model_stats] == ["lenet"]


async def test_loading_and_unloading_reach_the_model_manager(served: Served) -> None:
    model_manager = RecordingModelManager()
    servicer = InferenceServicer(served.engine, Statistics(), "0", lambda: True, model_manager)  # type: ignore[arg-type]
    context: Any = None
    await servicer.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="lenet"), context)
    await servicer.RepositoryModelUnload(kserve.RepositoryModelUnloadRequest(model_name="lenet.pixels"), context)
    assert model_manager.calls == [("load", "lenet"), ("unload", "lenet")]


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


async def test_a_model_whose_own_name_ends_in_pixels_keeps_its_name() -> None:
    catalog = Catalog()
    catalog.put(Entry("mine", 1, ModelState.LOADING))
    assert engine_model_name(catalog, "mine.pixels") == "mine"
    catalog.put(Entry("mine.pixels", 1, ModelState.LOADING))
    assert engine_model_name(catalog, "mine.pixels") == "mine.pixels"


async def test_a_lame_duck_and_a_model_without_device_are_not_ready_for_calls(served: Served) -> None:
    async def is_ready() -> bool:
        return bool((await served.infer.ModelReady(kserve.ModelReadyRequest(name="lenet"))).ready)

    assert await is_ready()
    served.stopping[0] = True
    assert not await is_ready()
    served.stopping[0] = False
    served.engine.lost_devices.add("cpu")
    assert not await is_ready()
    served.engine.lost_devices.clear()
    assert await is_ready()
