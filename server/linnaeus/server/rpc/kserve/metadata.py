"""What a client is told of the server and of a model's tensors; pure functions."""

from collections.abc import Sequence

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.rpc.kserve.model_names import ServedModel
from linnaeus.server.rpc.kserve.outputs import OUTPUT_NAME

SERVER_NAME = "linnaeus"
PLATFORM = "pytorch_libtorch"  # what the protocol's clients call TorchScript
# Those of the protocol's own names that hold here.
EXTENSIONS = ("classification", "model_configuration", "model_repository", "schedule_policy", "statistics")
_ANY = -1


def server_metadata(release: str) -> kserve.ServerMetadataResponse:
    """Describes the server."""
    return kserve.ServerMetadataResponse(name=SERVER_NAME, version=release, extensions=EXTENSIONS)


def model_metadata(catalog: Catalog, model: ServedModel, version: str) -> kserve.ModelMetadataResponse:
    """Describes a model.

    Args:
        catalog: what is served.
        model: the version meant.
        version: as it was asked for; empty lists all that are served.
    """
    spec = model.manifest
    return kserve.ModelMetadataResponse(
        name=model.name,
        versions=[model.version] if version else _served_versions(catalog, model.entry.name),
        platform=PLATFORM,
        inputs=[_tensor(model.input_name, "UINT8" if model.takes_pixels else "BYTES", model.image_shape)],
        outputs=[_tensor(OUTPUT_NAME, "FP32", [spec.classes])],
    )


def _served_versions(catalog: Catalog, model: str) -> list[str]:
    entries = (entry for entry in catalog.entries() if entry.name == model)
    return [str(entry.version) for entry in entries if entry.state is ModelState.READY]


def _tensor(name: str, datatype: str, of_one_image: Sequence[int]) -> kserve.ModelMetadataResponse.TensorMetadata:
    return kserve.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=[_ANY, *of_one_image])
