"""GRPCInferenceService with a real engine over a real connection, beside ClassifierService, and requests for it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy
import pytest
from tests.server.rpc.call_observers import NullCallObserver

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.model_store.catalog import Catalog, Entry, ModelState
from linnaeus.server.requests.request import Classification, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.kserve.servicer import InferenceServicer
from linnaeus.server.rpc.kserve.statistics import Statistics
from linnaeus.server.rpc.kserve.tensors import raw_bytes
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc


class RecordingEngine:
    """An engine that records its requests."""

    def __init__(self, engine: LocalEngine) -> None:
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


@dataclass
class Served:
    infer: Any
    native: Any
    engine: RecordingEngine
    health: list[bool] = field(default_factory=lambda: [True])
    stopping: list[bool] = field(default_factory=lambda: [False])
    charges: list[float] = field(default_factory=list)

    @property
    def last(self) -> Request:
        return self.engine.requests[-1]


@asynccontextmanager
async def serving(repository: Path) -> AsyncIterator[Served]:
    """Serves `lenet`, and knows a version `broken` that failed, by both services over a real connection."""
    statistics = Statistics()
    # One image per batch: then the same image gives bit-identical answers in every call.
    settings = Settings(
        repository=repository, models="lenet", device="cpu", max_batch_size=1, streams=1, max_queue_size=8
    )
    inner_engine = LocalEngine(settings, statistics)
    await inner_engine.load()
    inner_engine.catalog.put(Entry("broken", 1, ModelState.FAILED, "manifest.json is missing"))
    engine, health, stopping, charges = RecordingEngine(inner_engine), [True], [False], list[float]()

    async def charge(cost: float) -> None:
        charges.append(cost)

    server = grpc.aio.server()
    intercepted: Any = InterceptedServer(server, NullCallObserver())
    servicer = InferenceServicer(
        engine,  # type: ignore[arg-type]
        statistics,
        "9.9",
        is_ready=lambda: health[0],
        model_manager=inner_engine.model_manager,
        is_stopping=lambda: stopping[0],
        charge=charge,
    )
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, intercepted)
    v1_grpc.add_ClassifierServiceServicer_to_server(
        ClassifierServicer(inner_engine, v1.ServerLimits(), "9.9"), intercepted
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            infer = kserve_grpc.GRPCInferenceServiceStub(channel)
            yield Served(infer, v1_grpc.ClassifierServiceStub(channel), engine, health, stopping, charges)
    finally:
        await server.stop(None)
        await inner_engine.close()


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
