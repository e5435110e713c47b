"""The gRPC services of an engine."""

from functools import partial

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.engine import Engine
from linnaeus.server.rpc import classifier, model_service
from linnaeus.server.rpc.kserve import servicer as inference
from linnaeus.server.rpc.kserve.statistics import RemoteStatistics, Statistics
from linnaeus.server.rpc.kserve.unserved_calls import add_inference_service
from linnaeus.server.rpc.server import RpcServer, Service
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


def services(
    engine: Engine,
    settings: Settings,
    release: str,
    statistics: Statistics | RemoteStatistics,
    rpc_server: RpcServer,
    charge: Charge,
) -> list[Service]:
    """Returns the services that answer with an engine, most frequently called first."""
    limits = v1.ServerLimits(
        max_message_bytes=settings.max_message_bytes,
        max_image_pixels=settings.max_image_pixels,
        max_batch_images=settings.max_batch_images,
        stream_window=settings.stream_window,
        connections=connections_of_a_busy_caller(settings.front_end_count),
    )
    servicer = classifier.ClassifierServicer(engine, limits, release, charge=charge)
    kserve_servicer = inference.InferenceServicer(
        engine,
        statistics,
        release,
        is_ready=lambda: rpc_server.is_serving,
        is_stopping=lambda: rpc_server.is_stopping,
        model_manager=engine.model_manager,
        charge=charge,
    )
    models = model_service.ModelServicer(engine.model_manager, engine.catalog)
    return [
        Service(classifier.NAME, partial(v1_grpc.add_ClassifierServiceServicer_to_server, servicer)),
        Service(inference.NAME, partial(add_inference_service, kserve_servicer)),
        Service(model_service.NAME, partial(v1_grpc.add_ModelServiceServicer_to_server, models)),
    ]
