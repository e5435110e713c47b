"""The service over a real connection with a real engine, beside the native one: the same answers to both."""

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

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer, Method
from linnaeus.server.rpc.kserve.inputs import MOST_IMAGES
from linnaeus.server.rpc.kserve.model_names import engine_model_name
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.tensors import raw_bytes
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

pytestmark = pytest.mark.asyncio(loop_scope="module")


class NullCallObserver:
    def call_started(self, method: Method) -> None:
        pass

    def call_handled(self, method: Method, code: str, seconds: float) -> None:
        pass


class RecordingEngine:
    """The engine, with an ear on what reaches it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.requests: list[Request] = []

    @property
    def catalog(self) -> Catalog:
        return self.engine.catalog

    async def classify(self, request: Request) -> Classification:
        self.requests.append(request)
        return await self.engine.classify(request)

    async def classify_many(self, requests: Sequence[Request]) -> list[Outcome]:
        self.requests += requests
        return await self.engine.classify_many(requests)


class RecordingModelManager:
    """Keeps what it is told to load and unload."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    async def load_model(self, name: str) -> None:
        self.told.append(("load", name))

    async def unload_model(self, name: str) -> None:
        self.told.append(("unload", name))


@dataclass
class Served:
    infer: Any
    native: Any
    engine_spy: RecordingEngine
    health: list[bool] = field(default_factory=lambda: [True])

    @property
    def last(self) -> Request:
        return self.engine_spy.requests[-1]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(repository: Path) -> AsyncIterator[Served]:
    statistics = Statistics()
    # One image a batch: then the same picture takes the same way through the machine whoever asks.
    settings = Settings(
        repository=repository, models="lenet", device="cpu", max_batch_size=1, streams=1, max_queue_size=8
    )
    engine = Engine(settings, statistics)
    await engine.load()
    engine.catalog.put(Entry("broken", 1, ModelState.FAILED, "manifest.json is missing"))
    engine_spy, health = RecordingEngine(engine), [True]
    server = grpc.aio.server()
    watched: Any = InterceptedServer(server, NullCallObserver())
    inferring = InferenceServicer(engine_spy, statistics, "9.9", lambda: health[0], engine.model_manager)  # type: ignore[arg-type]
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(inferring, watched)
    v1_grpc.add_ClassifierServiceServicer_to_server(ClassifierServicer(engine, v1.ServerLimits(), "9.9"), watched)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        infer = kserve_grpc.GRPCInferenceServiceStub(channel)
        yield Served(infer, v1_grpc.ClassifierServiceStub(channel), engine_spy, health)
    await server.stop(None)
    await engine.close()


@pytest.fixture
def digits(pictures: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((pictures / "digits").glob("*.png"))]


def asked(elements: list[bytes], **fields: Any) -> kserve.ModelInferRequest:
    """A request for `lenet` with raw contents."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(elements)]}
    return kserve.ModelInferRequest(
        **{"model_name": "lenet", "inputs": [tensor], "raw_input_contents": [raw_bytes(elements)], **fields}
    )


def pixels(count: int = 1, datatype: str = "UINT8", shape: list[int] | None = None, **fields: Any) -> Any:
    """A request for `lenet.pixels` with raw contents."""
    tensor = {"name": "pixels", "datatype": datatype, "shape": shape or [count, 1, 28, 28]}
    raw = {"raw_input_contents": [bytes(range(256)) * 3 + bytes(16)] * 1} if count == 1 else {}
    return kserve.ModelInferRequest(**{"model_name": "lenet.pixels", "inputs": [tensor], **raw, **fields})


def table(response: kserve.ModelInferResponse) -> numpy.ndarray:
    (output,) = response.outputs
    assert (output.name, output.datatype) == ("probabilities", "FP32")
    return numpy.frombuffer(response.raw_output_contents[0], "<f4").reshape(tuple(output.shape))


def texts(response: kserve.ModelInferResponse) -> list[str]:
    raw, found = response.raw_output_contents[0], []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def best(count: int) -> dict[str, Any]:
    wanted = kserve.ModelInferRequest.InferRequestedOutputTensor(name="probabilities")
    wanted.parameters["classification"].int64_param = count
    return {"outputs": [wanted]}


async def refusal(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value.code(), raised.value.details() or ""


async def test_both_services_give_the_same_answer_to_the_same_picture(served: Served, digits: list[bytes]) -> None:
    for digit in digits:
        request = v1.ClassifyRequest(image=v1.Image(encoded=digit), model="lenet", top_k=10)
        native = {each.index: each.probability for each in (await served.native.Classify(request)).classes}
        (row,) = table(await served.infer.ModelInfer(asked([digit])))
        assert row.tolist() == [native[index] for index in range(10)]


async def test_text_has_value_index_and_label_best_first(served: Served, digits: list[bytes]) -> None:
    answer = await served.infer.ModelInfer(asked(digits[:2], **best(3)))
    probabilities = table(await served.infer.ModelInfer(asked(digits[:2])))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 3])
    rows = [text.split(":") for text in texts(answer)]
    for row, (value, index, label) in zip(numpy.repeat(probabilities, 3, axis=0), rows, strict=True):
        assert numpy.float32(value) == row[int(index)] and label == index and "e" not in value
    assert [row[1] for row in rows[::3]] == ["0", "1"]


async def test_more_classes_than_there_are_are_all_there_are(served: Served, digits: list[bytes]) -> None:
    answer = await served.infer.ModelInfer(asked(digits[:1], **best(99)))
    assert list(answer.outputs[0].shape) == [1, 10] and len(texts(answer)) == 10


async def test_typed_contents_mean_what_raw_ones_do(served: Served, digits: list[bytes]) -> None:
    tensor = {"name": "image", "datatype": "BYTES", "shape": [2, 1], "contents": {"bytes_contents": digits[:2]}}
    typed = await served.infer.ModelInfer(asked([], inputs=[tensor], raw_input_contents=[]))
    assert (table(typed) == table(await served.infer.ModelInfer(asked(digits[:2])))).all()
    data = pixels().raw_input_contents[0]
    tensor = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 28, 28], "contents": {"uint_contents": list(data)}}
    typed = await served.infer.ModelInfer(pixels(inputs=[tensor], raw_input_contents=[]))
    assert (table(typed) == table(await served.infer.ModelInfer(pixels()))).all()


async def test_pixels_of_the_models_size_are_those_of_a_picture_of_that_size(served: Served) -> None:
    data = pixels().raw_input_contents[0]
    image = v1.Image(pixels=v1.RawPixels(data=data, height=28, width=28, channels=1))
    native = await served.native.Classify(v1.ClassifyRequest(image=image, model="lenet", top_k=10))
    (row,) = table(await served.infer.ModelInfer(pixels()))
    assert row.tolist() == [each.probability for each in sorted(native.classes, key=lambda each: each.index)]


async def test_all_images_of_a_request_go_to_the_version_that_was_meant_when_it_came(
    served: Served, digits: list[bytes]
) -> None:
    observer = len(served.engine_spy.requests)
    await served.infer.ModelInfer(asked(digits[:2]))
    assert [request.version for request in served.engine_spy.requests[observer:]] == ["1", "1"]


async def test_the_answer_says_who_gave_it_and_to_what(served: Served, digits: list[bytes]) -> None:
    answer = await served.infer.ModelInfer(asked(digits[:1], id="mine", model_version="1"))
    assert (answer.id, answer.model_name, answer.model_version) == ("mine", "lenet", "1")
    assert (await served.infer.ModelInfer(pixels())).model_name == "lenet.pixels"


@pytest.mark.parametrize(
    ("level", "meant"),
    [(0, Priority.NORMAL), (1, Priority.HIGH), (2, Priority.NORMAL), (3, Priority.LOW), (99, Priority.LOW)],
)
@pytest.mark.parametrize("kind", ["uint64_param", "int64_param"])
async def test_priority_one_goes_first(
    served: Served, digits: list[bytes], kind: str, level: int, meant: Priority
) -> None:
    await served.infer.ModelInfer(asked(digits[:1], parameters={"priority": kserve.InferParameter(**{kind: level})}))
    assert served.last.priority is meant


async def test_the_earlier_of_timeout_and_deadline_holds(served: Served, digits: list[bytes]) -> None:
    def given(microseconds: int) -> kserve.ModelInferRequest:
        return asked(digits[:1], parameters={"timeout": kserve.InferParameter(int64_param=microseconds)})

    began = time.monotonic()
    await served.infer.ModelInfer(given(50_000_000))
    assert served.last.deadline is not None and 50 <= served.last.deadline - began < 100
    await served.infer.ModelInfer(given(50_000_000), timeout=20_000)
    assert served.last.deadline is not None and 50 <= served.last.deadline - began < 100
    await served.infer.ModelInfer(given(90_000_000_000), timeout=600)
    assert served.last.deadline is not None and 500 < served.last.deadline - began < 1000
    await served.infer.ModelInfer(given(0))
    assert served.last.deadline is None


async def test_a_timeout_that_cannot_be_kept_is_refused(served: Served, digits: list[bytes]) -> None:
    hopeless = asked(digits[:1], parameters={"timeout": kserve.InferParameter(int64_param=1)})
    code, _ = await refusal(served.infer.ModelInfer(hopeless))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_one_bad_image_fails_its_request_and_is_named(served: Served, digits: list[bytes]) -> None:
    message, fields = await refused_pictures(served, [digits[0], b"no picture", digits[1]])
    assert message.startswith("image 1 of 3, counted from 0: ") and fields == ["inputs.image[1]"]


async def test_a_bad_image_that_is_alone_in_its_request_is_named(served: Served) -> None:
    message, fields = await refused_pictures(served, [b"no picture"])
    assert not message.startswith("image 0") and fields == ["inputs.image[0]"]


async def refused_pictures(served: Served, elements: list[bytes]) -> tuple[str, list[str]]:
    """What a request whose pictures are at fault is told, and the fields that are named."""
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.infer.ModelInfer(asked(elements))
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    (detail,) = rpc_status.from_call(raised.value).details
    told = error_details_pb2.BadRequest.FromString(detail.value)
    return raised.value.details() or "", [each.field for each in told.field_violations]


async def test_more_images_than_the_queue_holds_are_refused_as_any_are(served: Served, digits: list[bytes]) -> None:
    code, said = await refusal(served.infer.ModelInfer(asked(digits[:1] * 600)))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED and "of 600" in said
    assert len(table(await served.infer.ModelInfer(asked(digits)))) == len(digits)  # nothing is left behind


TENSOR = {"name": "image", "datatype": "BYTES", "shape": [1]}
SHARED = {"shared_memory_region": kserve.InferParameter(string_param="mine")}


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (pixels(datatype="FP32"), "input pixels is FP32, but must be UINT8: send the pixels as they are, 0 to 255"),
        (pixels(shape=[1, 3, 28, 28]), "must have [n, 1, 28, 28]"),
        (pixels(shape=[1, 28, 28]), "must have [n, 1, 28, 28]"),
        (pixels(count=2), "holds 0 bytes, but its shape [2, 1, 28, 28] means 1568"),
        (pixels(model_name="lenet"), "model lenet takes one input, 'image', but the request holds 'pixels'"),
        (asked([b""], model_name="lenet.pixels"), "takes one input, 'pixels'"),
        (asked([b""], inputs=[]), "the request holds none"),
        (asked([b""], inputs=[TENSOR, TENSOR]), "the request holds 'image', 'image'"),
        (asked([b""], inputs=[{**TENSOR, "datatype": "UINT8"}]), "pixels go to lenet.pixels"),
        (asked([b""], inputs=[{**TENSOR, "shape": []}]), "has the shape []"),
        (asked([b""], inputs=[{**TENSOR, "shape": [0]}]), "has the shape [0]"),
        (asked([b""], inputs=[{**TENSOR, "shape": [-1]}]), "has the shape [-1]"),
        (asked([b""], inputs=[{**TENSOR, "shape": [1, 2]}]), "has the shape [1, 2]"),
        (asked([b""] * (MOST_IMAGES + 1)), f"{MOST_IMAGES} are the most"),
        (asked([b""], raw_input_contents=[b"", b""]), "2 raw and 0 typed"),
        (asked([b""], inputs=[{**TENSOR, "contents": {"bytes_contents": [b""]}}]), "1 raw and 1 typed"),
        (asked([b""], inputs=[{**TENSOR, "parameters": SHARED}]), "shared memory, which is not served"),
        (asked([b""], outputs=[{"name": "probabilities", "parameters": SHARED}]), "shared memory, which is not served"),
        (asked([b""], outputs=[{"name": "logits"}]), "has one output, 'probabilities', but the request wants 'logits'"),
        (asked([b""], **best(-1)), "classification must be a whole number"),
        (asked([b""], parameters={"timeout": kserve.InferParameter(int64_param=-1)}), "timeout must be a whole number"),
        (asked([b""], parameters={"priority": kserve.InferParameter(string_param="1")}), "priority must be a whole"),
    ],
)
async def test_what_does_not_fit_is_refused_before_any_work(
    served: Served, request_: kserve.ModelInferRequest, said: str
) -> None:
    observer = len(served.engine_spy.requests)
    code, told = await refusal(served.infer.ModelInfer(request_))
    assert code is grpc.StatusCode.INVALID_ARGUMENT and said in told
    assert len(served.engine_spy.requests) == observer


@pytest.mark.parametrize("method", ["ModelInfer", "ModelMetadata", "ModelConfig", "ModelStatistics"])
@pytest.mark.parametrize("name", ["nobody", "nobody.pixels", "broken", ".pixels"])
async def test_a_model_that_is_not_served_is_not_found(served: Served, method: str, name: str) -> None:
    field_name = "model_name" if method == "ModelInfer" else "name"
    request = getattr(kserve, f"{method}Request")(**{field_name: name})
    code, said = await refusal(getattr(served.infer, method)(request))
    assert code is grpc.StatusCode.NOT_FOUND and name.removesuffix(".pixels") in said


async def test_a_model_is_ready_if_it_is_served(served: Served) -> None:
    async def ready(name: str, version: str = "") -> bool:
        return bool((await served.infer.ModelReady(kserve.ModelReadyRequest(name=name, version=version))).ready)

    assert await ready("lenet") and await ready("lenet.pixels", "1")
    for name, version in (("lenet", "2"), ("lenet", "x"), ("broken", ""), ("nobody", "")):
        assert not await ready(name, version)


async def test_the_server_is_ready_while_its_health_says_so(served: Served) -> None:
    request = kserve.ServerReadyRequest()
    assert (await served.infer.ServerReady(request)).ready
    served.health[0] = False
    assert not (await served.infer.ServerReady(request)).ready
    assert (await served.infer.ServerLive(kserve.ServerLiveRequest())).live
    served.health[0] = True


async def test_metadata_and_configuration_agree_on_one_input_and_one_output(served: Served) -> None:
    for name, datatype, shape in (("lenet", "BYTES", [1]), ("lenet.pixels", "UINT8", [1, 28, 28])):
        told = await served.infer.ModelMetadata(kserve.ModelMetadataRequest(name=name))
        config = (await served.infer.ModelConfig(kserve.ModelConfigRequest(name=name))).config
        assert (told.name, config.name, list(told.versions)) == (name, name, ["1"])
        assert [(each.name, each.datatype, list(each.shape)) for each in told.inputs] == [
            (config.input[0].name, datatype, [-1, *config.input[0].dims])
        ]
        assert list(config.input[0].dims) == shape and len(config.input) == len(config.output) == 1
        assert [(each.name, each.datatype, list(each.shape)) for each in told.outputs] == [
            (config.output[0].name, "FP32", [-1, *config.output[0].dims])
        ]
        assert list(config.output[0].dims) == [10] and config.max_batch_size == 1
        assert config.WhichOneof("scheduling_choice") == "dynamic_batching"
    assert config.input[0].format == kserve.ModelInput.FORMAT_NCHW


async def test_the_index_tells_also_what_is_refused_and_why(served: Served) -> None:
    index = await served.infer.RepositoryIndex(kserve.RepositoryIndexRequest())
    assert [(each.name, each.version, each.state, each.reason) for each in index.models] == [
        ("broken", "1", "UNAVAILABLE", "manifest.json is missing"),
        ("lenet", "1", "READY", ""),
    ]
    ready = await served.infer.RepositoryIndex(kserve.RepositoryIndexRequest(ready=True))
    assert [each.name for each in ready.models] == ["lenet"]


async def test_statistics_count_the_images_of_both_services(served: Served, digits: list[bytes]) -> None:
    async def stats() -> kserve.ModelStatistics:
        told = await served.infer.ModelStatistics(kserve.ModelStatisticsRequest(name="lenet.pixels"))
        (one,) = told.model_stats
        return one

    before = await stats()
    await served.infer.ModelInfer(asked(digits[:3]))
    await served.native.Classify(v1.ClassifyRequest(image=v1.Image(encoded=digits[0]), model="lenet"))
    await refusal(served.infer.ModelInfer(asked([b"no picture"])))
    after = await stats()
    assert (after.name, after.version) == ("lenet.pixels", "1")
    assert after.inference_count - before.inference_count == 4
    assert after.execution_count - before.execution_count == 4  # of one image each, as this engine is set
    assert after.inference_stats.fail.count - before.inference_stats.fail.count == 1
    assert after.inference_stats.fail.ns > before.inference_stats.fail.ns
    stages = after.inference_stats
    summed = stages.queue.ns + stages.compute_input.ns + stages.compute_infer.ns + stages.compute_output.ns
    assert 0 < summed <= stages.success.ns
    (of_one,) = after.batch_stats
    assert of_one.compute_infer.ns >= stages.compute_infer.ns  # a run's images are back before it is over
    everybody = await served.infer.ModelStatistics(kserve.ModelStatisticsRequest())
    assert [each.name for each in everybody.model_stats] == ["lenet"]


async def test_loading_and_unloading_reach_whoever_does_it(served: Served) -> None:
    model_manager = RecordingModelManager()
    servicer = InferenceServicer(served.engine_spy, Statistics(), "0", lambda: True, model_manager)  # type: ignore[arg-type]
    nobody: Any = None
    await servicer.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="lenet"), nobody)
    await servicer.RepositoryModelUnload(kserve.RepositoryModelUnloadRequest(model_name="lenet.pixels"), nobody)
    assert model_manager.told == [("load", "lenet"), ("unload", "lenet")]


async def test_a_stream_answers_each_request_and_survives_the_bad_one(served: Served, digits: list[bytes]) -> None:
    sent = [asked([digits[0]], id="a"), asked([b"no picture"], id="b"), asked([digits[1]], id="c")]
    answers = [answer async for answer in served.infer.ModelStreamInfer(iter(sent))]
    assert [answer.infer_response.id for answer in answers] == ["a", "b", "c"]
    assert [bool(answer.error_message) for answer in answers] == [False, True, False]
    assert [int(table(answers[place].infer_response).argmax()) for place in (0, 2)] == [0, 1]


async def test_a_model_that_is_called_something_pixels_keeps_its_name() -> None:
    catalog = Catalog()
    catalog.put(Entry("mine", 1, ModelState.LOADING))
    assert engine_model_name(catalog, "mine.pixels") == "mine"
    catalog.put(Entry("mine.pixels", 1, ModelState.LOADING))
    assert engine_model_name(catalog, "mine.pixels") == "mine.pixels"
