"""Metadata of the server and of models' tensors. Pure functions."""

from collections.abc import Sequence

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.models.model_format import ONNX, OPENVINO, TORCHSCRIPT
from linnaeus.server.model_store.catalog import Catalog, ModelState
from linnaeus.server.rpc.kserve.model_names import ServedModel
from linnaeus.server.rpc.kserve.outputs import output_sizes

SERVER_NAME = "linnaeus"
# Triton's names of a model's format and of what runs it.
PLATFORMS = {TORCHSCRIPT: "pytorch_libtorch", ONNX: "onnxruntime_onnx", OPENVINO: "openvino"}
BACKENDS = {TORCHSCRIPT: "pytorch", ONNX: "onnxruntime", OPENVINO: "openvino"}
# The supported extensions, by the protocol's names.
EXTENSIONS = (
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
)
_ANY_SIZE = -1


def server_metadata(release: str) -> kserve.ServerMetadataResponse:
    """Returns the metadata of the server."""
    return kserve.ServerMetadataResponse(name=SERVER_NAME, version=release, extensions=EXTENSIONS)


def model_metadata(catalog: Catalog, model: ServedModel, version: str) -> kserve.ModelMetadataResponse:
    """Returns the metadata of a model.

    Args:
        catalog: the served versions.
        model: the resolved version.
        version: the requested version; if empty, the metadata lists all served versions.
    """
    spec = model.manifest
    return kserve.ModelMetadataResponse(
        name=model.name,
        versions=[model.version] if version else _served_versions(catalog, model.entry.name),
        platform=PLATFORMS[spec.model_format],
        inputs=[_tensor(model.input_name, "UINT8" if model.takes_pixels else "BYTES", model.image_shape)],
        outputs=[_tensor(name, "FP32", [size]) for name, size in output_sizes(spec).items()],
    )


def _served_versions(catalog: Catalog, model: str) -> list[str]:
    entries = (entry for entry in catalog.entries() if entry.name == model)
    return [str(entry.version) for entry in entries if entry.state is ModelState.READY]


def _tensor(name: str, datatype: str, image_shape: Sequence[int]) -> kserve.ModelMetadataResponse.TensorMetadata:
    return kserve.ModelMetadataResponse.TensorMetadata(name=name, datatype=datatype, shape=[_ANY_SIZE, *image_shape])
