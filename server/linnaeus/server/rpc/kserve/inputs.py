"""Conversion of an inference request's input to images. Pure functions."""

from typing import TypeAlias

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import InvalidArgument, InvalidImage
from linnaeus.server.requests.picture import EncodedImage, Picture, PreparedPixels
from linnaeus.server.rpc.kserve import tensors
from linnaeus.server.rpc.kserve.model_names import PIXELS_SUFFIX, ServedModel
from linnaeus.server.rpc.kserve.parameters import refuse_shared_memory

Tensor: TypeAlias = kserve.ModelInferRequest.InferInputTensor

# Per request: all its images are admitted in one turn of the event loop, which delays other calls.
MAX_IMAGES = 1024


def read_images(message: kserve.ModelInferRequest, model: ServedModel) -> list[Picture]:
    """Returns the images of a request, in their order; at least one.

    Raises:
        InvalidArgument: if the request does not have exactly the model's input, or its contents do not fit its shape.
    """
    tensor = _only_input(message, model)
    raw = _raw_contents(message, tensor)
    if model.takes_pixels:
        return _pixel_images(tensor, raw, model)
    _check_datatype(tensor, "BYTES", f"encoded pictures as they are; pixels go to {model.entry.name}{PIXELS_SUFFIX}")
    _check_shape(tensor, ([1], []), "n encoded pictures")
    return [EncodedImage(element) for element in tensors.bytes_elements(tensor, raw)]


def _only_input(message: kserve.ModelInferRequest, model: ServedModel) -> Tensor:
    tensors_sent = message.inputs
    if len(tensors_sent) != 1 or tensors_sent[0].name != model.input_name:
        sent = ", ".join(repr(tensor.name[:40]) for tensor in tensors_sent[:4]) or "none"
        expected = f"model {model.name} takes one input, {model.input_name!r}"
        raise InvalidArgument("inputs", f"{expected}, but the request holds {sent}")
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


def _pixel_images(tensor: Tensor, raw: bytes | None, model: ServedModel) -> list[Picture]:
    advice = "the pixels as they are, 0 to 255, neither scaled nor normalised: the model does that itself"
    _check_datatype(tensor, "UINT8", advice)
    spec = model.manifest.input
    channels, height, width = spec.channels, spec.height, spec.width
    _check_shape(tensor, ([channels, height, width],), "n images of channels, height, width")
    data, size = tensors.uint8_bytes(tensor, raw), channels * height * width
    return [PreparedPixels(data[start : start + size], channels, height, width) for start in range(0, len(data), size)]


def _check_datatype(tensor: Tensor, expected: str, advice: str) -> None:
    if tensor.datatype != expected:
        raise InvalidImage(
            f"inputs.{tensor.name}",
            f"input {tensor.name} is {tensor.datatype[:20] or 'of no datatype'}, but must be {expected}: send {advice}",
        )


def _check_shape(tensor: Tensor, image_shapes: tuple[list[int], ...], description: str) -> None:
    shape = list(tensor.shape)
    if not shape or shape[0] < 1 or shape[1:] not in image_shapes:
        expected = " or ".join(f"[{', '.join(map(str, ('n', *sizes)))}]" for sizes in image_shapes)
        raise InvalidImage(
            f"inputs.{tensor.name}",
            f"input {tensor.name} has the shape {shape[:8]}, but must have {expected}, {description}",
        )
    if shape[0] > MAX_IMAGES:
        message = f"the request holds {shape[0]} images, but {MAX_IMAGES} are the most: send several requests"
        raise InvalidArgument(f"inputs.{tensor.name}", message)
