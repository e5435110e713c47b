"""Server reflection, by which grpcurl and others learn the services: v1, and v1alpha for older clients."""

from collections.abc import Sequence
from typing import Any

import grpc
from grpc_health.v1.health import SERVICE_NAME as HEALTH
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from linnaeus.server.rpc.standard_protocols import REFLECTION_V1, describe_services


def add_reflection(names: Sequence[str], server: Any) -> None:
    """Adds both versions of the reflection service to a server.

    Args:
        names: full names of the server's services, without health and reflection.
        server: an `InterceptedServer`, or anything with its methods.
    """
    described = (*names, HEALTH, reflection.SERVICE_NAME, REFLECTION_V1)
    servicer = reflection.aio.ReflectionServicer(described, pool=describe_services(names))
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
    # The messages of both versions are the same on the wire.
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_registered_method_handlers(REFLECTION_V1, {"ServerReflectionInfo": handler})
