"""What answers calls: the servicers of an engine, for gRPC and for HTTP."""

from dataclasses import dataclass
from functools import partial

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.rpc import classifier, model_service
from linnaeus.server.rpc.kserve import servicer as inference
from linnaeus.server.rpc.kserve.statistics import RemoteStatistics, Statistics
from linnaeus.server.rpc.kserve.unserved_calls import add_inference_service
from linnaeus.server.rpc.published_health import PublishedHealth
from linnaeus.server.rpc.server import Service
from linnaeus.server.rpc.trace_context import with_call_context
from linnaeus.server.security.charging import Charge
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

_CONNECTIONS_PER_FRONT_END = 4
_MAX_CONNECTIONS = 32


def connections_of_a_busy_caller(front_ends: int) -> int:
    """Returns how many connections a busy caller should open, so that every front end gets calls.

    The kernel deals connections out to the front ends at random: of two connections to two front ends, every second
    pair meets one only. With four for each, one of two front ends is left out in 1 of 128 cases. Each connection
    costs the server memory and a file, so that there are at most 32: from nine front ends on, fewer than four for each.

    Args:
        front_ends: the number of processes that share the port; 0 if one process does everything.
    """
    return 1 if front_ends < 2 else min(_CONNECTIONS_PER_FRONT_END * front_ends, _MAX_CONNECTIONS)


@dataclass(frozen=True, slots=True)
class Servicers:
    """The servicers of one engine, which both gRPC and HTTP call."""

    classifier: classifier.ClassifierServicer
    inference: inference.InferenceServicer
    models: model_service.ModelServicer

    def grpc_services(self, traces: bool, has_tokens: bool) -> list[Service]:
        """Returns the services for gRPC, most frequently called first.

        Args:
            traces: whether calls need a context for telemetry.
            has_tokens: whether callers are identified by tokens.
        """
        services = [
            Service(classifier.NAME, partial(v1_grpc.add_ClassifierServiceServicer_to_server, self.classifier)),
            Service(inference.NAME, partial(add_inference_service, self.inference)),
            Service(model_service.NAME, partial(v1_grpc.add_ModelServiceServicer_to_server, self.models)),
        ]
        if not traces:
            return services
        return [Service(each.name, with_call_context(each.add, has_tokens)) for each in services]


def servicers(
    engine: Engine,
    settings: Settings,
    release: str,
    statistics: Statistics | RemoteStatistics,
    health: PublishedHealth,
    charge: Charge,
) -> Servicers:
    """Returns the servicers that answer with an engine."""
    limits = v1.ServerLimits(
        max_message_bytes=settings.max_message_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_batch_images=settings.max_batch_images,
        stream_window=settings.stream_window,
        connections=connections_of_a_busy_caller(settings.front_end_count),
    )
    kserve_servicer = inference.InferenceServicer(
        engine,
        statistics,
        release,
        is_ready=lambda: health.is_serving,
        is_stopping=lambda: health.is_stopping,
        model_manager=engine.model_manager,
        charge=charge,
    )
    return Servicers(
        classifier.ClassifierServicer(engine, limits, release, charge=charge),
        kserve_servicer,
        model_service.ModelServicer(engine.model_manager, engine.catalog),
    )
