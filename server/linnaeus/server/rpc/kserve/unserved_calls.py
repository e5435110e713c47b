"""Calls of Triton's protocol that are not served: each is answered with the reason and with what to do instead."""

from typing import Any

import grpc

from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.kserve.servicer import NAME, InferenceServicer

_SHARED_MEMORY = (
    "shared memory is not served, because one caller could read another's: send the images in the request "
    "(raw_input_contents), on the same machine over a socket file (--host unix:/PATH)"
)
_TRACE = (
    "trace settings cannot be changed by a call, because they hold for all callers: start the server with "
    "--otel-endpoint and --otel-sample, or send traceparent with the calls to be traced"
)
_LOG = (
    "log settings cannot be changed by a call, because they hold for all callers: start the server with --log-level, "
    "--log-format and --request-log"
)
REASONS = {
    "TraceSetting": _TRACE,
    "LogSettings": _LOG,
    **{
        f"{kind}SharedMemory{call}": _SHARED_MEMORY
        for kind in ("System", "Cuda")
        for call in ("Status", "Register", "Unregister")
    },
}


def add_inference_service(servicer: InferenceServicer, server: Any) -> None:
    """Adds the service to a server, and beside its methods those that only refuse.

    Args:
        servicer: implements the methods that are served.
        server: an `InterceptedServer`, or anything with its methods.
    """
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(servicer, server)
    # Without a deserializer: what such a request holds does not matter.
    handlers: dict[str, Any] = {
        name: grpc.unary_unary_rpc_method_handler(_refuse(reason)) for name, reason in REASONS.items()
    }
    server.add_registered_method_handlers(NAME, handlers)


def _refuse(reason: str) -> Any:
    async def refuse(request: bytes, context: Any) -> None:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, reason)

    return refuse
