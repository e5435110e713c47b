"""The configuration of a model in Triton's format. Pure functions.

For clients, a `max_batch_size` above 0 means that the first dimension of every shape is the number of images. Its value
is the maximum batch size on the device; a request may contain more images, since each is queued by itself.
"""

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.models.manifest import LABELS_FILE
from linnaeus.server.rpc.kserve.metadata import BACKENDS, PLATFORMS
from linnaeus.server.rpc.kserve.model_infer import DEFAULT_PRIORITY, PRIORITIES
from linnaeus.server.rpc.kserve.model_names import ServedModel
from linnaeus.server.rpc.kserve.outputs import OUTPUT_NAME, output_sizes


def model_config(model: ServedModel) -> kserve.ModelConfig:
    """Returns the configuration of a model version."""
    return kserve.ModelConfig(
        name=model.name,
        platform=PLATFORMS[model.manifest.model_format],
        backend=BACKENDS[model.manifest.model_format],
        version_policy=kserve.ModelVersionPolicy(all=kserve.ModelVersionPolicy.All()),
        max_batch_size=model.entry.max_batch_size,
        input=[_input(model)],
        output=[_output(name, size) for name, size in output_sizes(model.manifest).items()],
        dynamic_batching=_dynamic_batching(model.entry.default_timeout_seconds),
        default_model_filename=model.manifest.model_file,
        parameters={name: kserve.ModelParameter(string_value=value) for name, value in _parameters(model).items()},
        model_transaction_policy=kserve.ModelTransactionPolicy(decoupled=False),
    )


def _input(model: ServedModel) -> kserve.ModelInput:
    return kserve.ModelInput(
        name=model.input_name,
        data_type=kserve.TYPE_UINT8 if model.takes_pixels else kserve.TYPE_STRING,
        format=kserve.ModelInput.FORMAT_NCHW if model.takes_pixels else kserve.ModelInput.FORMAT_NONE,
        dims=model.image_shape,
    )


def _output(name: str, size: int) -> kserve.ModelOutput:
    return kserve.ModelOutput(
        name=name,
        data_type=kserve.TYPE_FP32,
        dims=[size],
        label_filename=LABELS_FILE if name == OUTPUT_NAME else "",
    )


def _dynamic_batching(default_timeout_seconds: float) -> kserve.ModelDynamicBatching:
    return kserve.ModelDynamicBatching(
        priority_levels=len(PRIORITIES),
        default_priority_level=DEFAULT_PRIORITY,
        default_queue_policy=kserve.ModelQueuePolicy(
            timeout_action=kserve.ModelQueuePolicy.REJECT,
            default_timeout_microseconds=round(default_timeout_seconds * 1e6),
            allow_timeout_override=True,
        ),
    )


def _parameters(model: ServedModel) -> dict[str, str]:
    manifest = model.manifest
    trained = "trained" if manifest.weights.trained else "untrained"
    made = model.entry.specialisations
    return {
        "architecture": manifest.architecture,
        "weights": f"{trained} ({manifest.weights.source})",
        "precision": ", ".join(f"{each.precision} on {each.device}" for each in made),
        "runtime": ", ".join(f"{each.runtime} on {each.device}" for each in made),
    }
