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
