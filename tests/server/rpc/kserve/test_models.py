"""What GRPCInferenceService tells of models: readiness, metadata, configuration, the index and statistics."""

from typing import Any

import grpc
import pytest
from tests.server.rpc.kserve.served_inference import Served, encoded_request, refusal

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.rpc.kserve.model_names import engine_model_name
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.v1 import classifier_pb2 as v1

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


class RecordingModelManager:
    """A model manager that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    async def load_model(self, name: str) -> None:
        self.calls.append(("load", name))

    async def unload_model(self, name: str) -> None:
        self.calls.append(("unload", name))


async def test_loading_and_unloading_reach_the_model_manager(served: Served) -> None:
    model_manager = RecordingModelManager()
    servicer = InferenceServicer(served.engine, Statistics(), "0", lambda: True, model_manager)  # type: ignore[arg-type]
    context: Any = None
    await servicer.RepositoryModelLoad(kserve.RepositoryModelLoadRequest(model_name="lenet"), context)
    await servicer.RepositoryModelUnload(kserve.RepositoryModelUnloadRequest(model_name="lenet.pixels"), context)
    assert model_manager.calls == [("load", "lenet"), ("unload", "lenet")]


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
