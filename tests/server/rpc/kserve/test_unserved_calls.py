"""Triton's calls that are not served say so, why, and what to use instead; the calls beside them are served."""

from typing import Any

import grpc
import pytest
from tests.server.rpc.call_observers import NullCallObserver

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.kserve.unserved_calls import add_inference_service

# https://github.com/triton-inference-server/common/blob/main/protobuf/grpc_service.proto, without what is served.
CALLS = {
    "SystemSharedMemoryStatus": "raw_input_contents",
    "SystemSharedMemoryRegister": "raw_input_contents",
    "SystemSharedMemoryUnregister": "raw_input_contents",
    "CudaSharedMemoryStatus": "raw_input_contents",
    "CudaSharedMemoryRegister": "raw_input_contents",
    "CudaSharedMemoryUnregister": "raw_input_contents",
    "TraceSetting": "--otel-endpoint",
    "LogSettings": "--log-level",
}


class Live(kserve_grpc.GRPCInferenceServiceServicer):
    """Serves one call."""

    async def ServerLive(self, request: Any, context: Any) -> kserve.ServerLiveResponse:
        return kserve.ServerLiveResponse(live=True)


async def test_a_call_that_is_not_served_says_why_and_what_to_use_instead() -> None:
    server = grpc.aio.server()
    servicer: Any = Live()
    add_inference_service(servicer, InterceptedServer(server, NullCallObserver()))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            for name, instead in CALLS.items():
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await channel.unary_unary(f"/inference.GRPCInferenceService/{name}")(b"\x0a\x01a", timeout=60)
                assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
                said = refused.value.details() or ""
                assert "because" in said and instead in said and "\n" not in said
            live = await kserve_grpc.GRPCInferenceServiceStub(channel).ServerLive(
                kserve.ServerLiveRequest(), timeout=60
            )
            assert live.live
    finally:
        await server.stop(None)
