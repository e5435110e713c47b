"""gRPC's own services in their present form: reflection v1 beside v1alpha, and health with List on both ports."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.server.rpc.call_observers import NullCallObserver
from tests.server.rpc.idle_engine import IdleEngine

from linnaeus.server.rpc import health as health_module
from linnaeus.server.rpc.server import RpcServer, Service
from linnaeus.server.rpc.standard_protocols import HealthListRequest, HealthListResponse
from linnaeus.server.security.listen_address import Address
from linnaeus.server.security.server_security import ServerSecurity
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

CLASSIFIER, HEALTH = "linnaeus.v1.ClassifierService", "grpc.health.v1.Health"
REFLECTIONS = ["grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection"]
SERVING = health_pb2.HealthCheckResponse.SERVING


@pytest.fixture
async def server() -> AsyncIterator[RpcServer]:
    addresses = ServerSecurity(address=Address("127.0.0.1", 0), health=Address("127.0.0.1", 0), max_connections=10)
    made = RpcServer(NullCallObserver(), addresses, 1 << 20)
    servicer = v1_grpc.ClassifierServiceServicer()
    service = Service(CLASSIFIER, lambda target: v1_grpc.add_ClassifierServiceServicer_to_server(servicer, target))
    await made.start([service])
    await made.listen()
    await made.health.set_serving()
    await made.health.set_device_status("cpu", False)
    yield made
    await made.stop(IdleEngine(), 0)


async def ask(server: RpcServer, service: str, *requests: Any) -> list[Any]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.stream_stream(
            f"/{service}/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )(iter(requests), timeout=60)
        return [answer async for answer in call]


@pytest.mark.parametrize("service", REFLECTIONS)
async def test_both_versions_of_reflection_list_and_describe_every_service(server: RpcServer, service: str) -> None:
    request = reflection_pb2.ServerReflectionRequest
    (listed,) = await ask(server, service, request(list_services=""))
    names = [each.name for each in listed.list_services_response.service]
    assert names == sorted([CLASSIFIER, HEALTH, *REFLECTIONS])
    pool, added = DescriptorPool(), set[str]()
    for answer in await ask(server, service, *(request(file_containing_symbol=name) for name in names)):
        for content in reversed(answer.file_descriptor_response.file_descriptor_proto):
            file = descriptor_pb2.FileDescriptorProto.FromString(content)
            if file.name not in added:
                added.add(file.name)
                pool.AddSerializedFile(content)
    methods = {name: sorted(pool.FindServiceByName(name).methods_by_name) for name in names}
    assert methods[HEALTH] == ["Check", "List", "Watch"] and "Classify" in methods[CLASSIFIER]
    for name in REFLECTIONS:
        info = pool.FindServiceByName(name).methods_by_name["ServerReflectionInfo"]
        assert info.input_type.full_name == name.replace("ServerReflection", "ServerReflectionRequest")
        assert info.output_type.full_name == name.replace("ServerReflection", "ServerReflectionResponse")


async def list_health(port: int | None) -> dict[str, int]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            f"/{HEALTH}/List", HealthListRequest.SerializeToString, HealthListResponse.FromString
        )
        answer: Any = await call(HealthListRequest(), timeout=60)
        return {name: each.status for name, each in answer.statuses.items()}


async def test_both_ports_list_the_health_of_the_server_its_services_and_its_devices(server: RpcServer) -> None:
    for port in (server.port, server.health_port):
        assert await list_health(port) == {
            "": SERVING,
            CLASSIFIER: SERVING,
            "device/cpu": health_pb2.HealthCheckResponse.NOT_SERVING,
        }


async def test_a_list_of_health_is_bounded(server: RpcServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "_MOST_LISTED", 2)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await list_health(server.port)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.value.details() == "there are more than 2 names; ask for each with Check"


def test_the_list_is_that_of_the_published_contract() -> None:
    """https://github.com/grpc/grpc-proto: map<string, HealthCheckResponse> statuses = 1."""
    assert HealthListResponse(statuses={"a": {"status": SERVING}}).SerializeToString().hex() == "0a070a016112020801"
    assert HealthListResponse.DESCRIPTOR.full_name == "grpc.health.v1.HealthListResponse"
