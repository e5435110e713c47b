"""Over gRPC, ClassifierService and KServe: a call without a model is not answered by the only model that is left."""

from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.repositories import add_version
from tests.server.rpc.call_observers import NullCallObserver

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.tensors import raw_bytes
from linnaeus.server.rpc.model_service import ModelServicer
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


def calls_without_a_model(channel: grpc.aio.Channel, encoded: bytes) -> list[Any]:
    """Starts a call of each protocol that names no model."""
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    inference = kserve.ModelInferRequest(inputs=[tensor], raw_input_contents=[raw_bytes([encoded])])
    image = v1.Image(encoded=encoded)
    native = v1_grpc.ClassifierServiceStub(channel)
    return [
        native.Classify(v1.ClassifyRequest(image=image)),
        native.ClassifyBatch(v1.ClassifyBatchRequest(images=[image])),
        native.GetModel(v1.GetModelRequest()),
        kserve_grpc.GRPCInferenceServiceStub(channel).ModelInfer(inference),
    ]


async def test_a_call_without_a_model_is_refused_in_every_protocol_once_one_of_two_models_is_unloaded(
    repository: Path, tmp_path: Path, pictures: Path
) -> None:
    for name in ("one", "two"):
        add_version(repository / "lenet" / "1", tmp_path, name, 1)
    statistics = Statistics()
    engine = LocalEngine(Settings(repository=tmp_path, device="cpu", max_batch_size=1), statistics)
    await engine.load()
    server = grpc.aio.server()
    intercepted: Any = InterceptedServer(server, NullCallObserver())
    infer = InferenceServicer(
        engine,
        statistics,
        "9.9",
        is_ready=lambda: True,
        is_stopping=lambda: False,
        model_manager=engine.model_manager,
    )
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(infer, intercepted)
    limits = v1.ServerLimits(max_batch_images=1)
    v1_grpc.add_ClassifierServiceServicer_to_server(ClassifierServicer(engine, limits, "9.9"), intercepted)
    v1_grpc.add_ModelServiceServicer_to_server(ModelServicer(engine.model_manager, engine.catalog), intercepted)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            await v1_grpc.ModelServiceStub(channel).UnloadModel(v1.UnloadModelRequest(model="two"))
            for call in calls_without_a_model(channel, (pictures / "digits" / "7.png").read_bytes()):
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await call
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
                said = "model is empty and this server has no default model; name one of: one"
                assert refused.value.details() == said
    finally:
        await server.stop(None)
        await engine.close()
