"""From a request's one input to the engine's pictures; pure functions."""

from typing import TypeAlias

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument, InvalidImage
from linnaeus.server.requests.picture import EncodedImage, Picture, PreparedPixels
from linnaeus.server.rpc.kserve import tensors
from linnaeus.server.rpc.kserve.model_names import PIXELS_SUFFIX, ServedModel
from linnaeus.server.rpc.kserve.parameters import refuse_shared_memory

Tensor: TypeAlias = kserve.ModelInferRequest.InferInputTensor

# Of one request: they are admitted in one turn of the event loop, which must not keep the others waiting for long.
MOST_IMAGES = 1024


def read_pictures(message: kserve.ModelInferRequest, model: ServedModel) -> list[Picture]:
    """Reads the images of a request, in their order; at least one.

    Raises:
        InvalidArgument: the input is not the model's, or its contents do not fit its shape.
    """
    tensor = _only_input(message, model)
    raw = _raw_contents(message, tensor)
    if model.takes_pixels:
        return _prepared(tensor, raw, model)
    _check_datatype(tensor, "BYTES", f"encoded pictures as they are; pixels go to {model.entry.name}{PIXELS_SUFFIX}")
    _check_shape(tensor, ([1], []), "n encoded pictures")
    return [EncodedImage(element) for element in tensors.bytes_elements(tensor, raw)]


def _only_input(message: kserve.ModelInferRequest, model: ServedModel) -> Tensor:
    tensors_sent = message.inputs
    if len(tensors_sent) != 1 or tensors_sent[0].name != model.input_name:
        sent = ", ".join(repr(tensor.name[:40]) for tensor in tensors_sent[:4]) or "none"
        wanted = f"model {model.name} takes one input, {model.input_name!r}"
        raise InvalidArgument("inputs", f"{wanted}, but the request holds {sent}")
    tensor = tensors_sent[0]
    if tensor.parameters:
        refuse_shared_memory(tensor.parameters, f"inputs.{model.input_name}")
    return tensor


def _raw_contents(message: kserve.ModelInferRequest, tensor: Tensor) -> bytes | None:
    raw = message.raw_input_contents
    if not raw:
        return None
    if len(raw) != 1 or tensor.HasField("contents"):
        raise InvalidArgument(
            "raw_input_contents",
            f"the contents of input {tensor.name} must be there once, either typed or raw, but the request holds "
            f"{len(raw)} raw and {int(tensor.HasField('contents'))} typed",
        )
    return raw[0]


def _prepared(tensor: Tensor, raw: bytes | None, model: ServedModel) -> list[Picture]:
    advice = "the pixels as they are, 0 to 255, neither scaled nor normalised: the model does that itself"
    _check_datatype(tensor, "UINT8", advice)
    spec = model.manifest.input
    channels, height, width = spec.channels, spec.height, spec.width
    _check_shape(tensor, ([channels, height, width],), "n images of channels, height, width")
    data, size = tensors.uint8_bytes(tensor, raw), channels * height * width
    return [PreparedPixels(data[start : start + size], channels, height, width) for start in range(0, len(data), size)]


def _check_datatype(tensor: Tensor, wanted: str, what_to_send: str) -> None:
    if tensor.datatype != wanted:
        raise InvalidImage(
            f"inputs.{tensor.name}",
            f"input {tensor.name} is {tensor.datatype[:20] or 'of no datatype'}, but must be {wanted}: send "
            f"{what_to_send}",
        )


def _check_shape(tensor: Tensor, of_one_image: tuple[list[int], ...], what: str) -> None:
    shape = list(tensor.shape)
    if not shape or shape[0] < 1 or shape[1:] not in of_one_image:
        wanted = " or ".join(f"[{', '.join(map(str, ('n', *sizes)))}]" for sizes in of_one_image)
        raise InvalidImage(
            f"inputs.{tensor.name}", f"input {tensor.name} has the shape {shape[:8]}, but must have {wanted}, {what}"
        )
    if shape[0] > MOST_IMAGES:
        message = f"the request holds {shape[0]} images, but {MOST_IMAGES} are the most: send several requests"
        raise InvalidArgument(f"inputs.{tensor.name}", message)
