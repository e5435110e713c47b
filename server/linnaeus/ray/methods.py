"""The methods that are served on Ray: those of linnaeus.v1 and KServe, and health checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from linnaeus.kserve import grpc_service_pb2_grpc as kserve_grpc
from linnaeus.server.rpc.health import HealthServicer, add_health
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

# A watch would last for ever at one replica, which Ray could then not drain. Clients take a server without it for
# healthy as long as the connection is.
_LEFT_OUT = frozenset({"Watch"})


# A servicer whose methods are never called.
_ABSENT: Any = type("_Absent", (), {"__getattr__": lambda self, name: None})()


@dataclass(frozen=True, slots=True)
class Method:
    """One method of one service.

    Attributes:
        name: the name, by which Ray tells methods apart: no two services have one of the same name.
        path: `/SERVICE/NAME`.
        handler: of gRPC, which tells whether requests and answers are streams.
    """

    name: str
    path: str
    handler: Any


class _Collector:
    """Stands in for a gRPC server that services are added to."""

    def __init__(self) -> None:
        self.methods: list[Method] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """Does nothing: generated code also adds the same methods by `add_registered_method_handlers`."""

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Adds the methods of a service."""
        for name, handler in handlers.items():
            if name not in _LEFT_OUT:
                self.methods.append(Method(name, f"/{service}/{name}", handler))


def served_methods() -> Sequence[Method]:
    """Returns the methods, without implementations."""
    server: Any = _Collector()
    v1_grpc.add_ClassifierServiceServicer_to_server(_ABSENT, server)
    kserve_grpc.add_GRPCInferenceServiceServicer_to_server(_ABSENT, server)
    v1_grpc.add_ModelServiceServicer_to_server(_ABSENT, server)
    add_health(HealthServicer(), server)
    methods: list[Method] = server.methods
    return methods
