"""Reads a user's ONNX file: the one input that takes the pictures, and the one output.

It knows nothing of what runs a graph. A ModelProto is `Any` here, because the package `onnx` is optional.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from linnaeus.models.manifest import InputSpec
from linnaeus.models.own_model.finding import Finding, Unusable, problem
from linnaeus.models.own_model.onnx_packages import import_onnx
from linnaeus.text_files import reason_of

FLOAT32, UINT8 = "float32", "uint8"
# Element types that pictures can be converted to, as numpy names them.
_DTYPES = {"FLOAT": FLOAT32, "UINT8": UINT8, "FLOAT16": "float16", "DOUBLE": "float64"}
# Below it Mul and Add do not broadcast; onnxruntime supports nothing older.
_OLDEST_OPSET = 7
_RANK = 4
# A message of protobuf, and so a file without others beside it, cannot be larger.
_LARGEST_BYTES = 2**31 - 1
_DYNAMIC_BATCH = "export it with a variable batch, as torch.onnx.export does with dynamic_axes or dynamic_shapes"


class Layout(StrEnum):
    """The order of an input's dimensions: channels before height and width, or after them."""

    NCHW = "NCHW"
    NHWC = "NHWC"


@dataclass(frozen=True, slots=True)
class PictureInput:
    """The input that takes the pictures.

    Attributes:
        name: its name.
        dtype: its element type, as numpy names it.
        layout: the order of its dimensions.
        batch: the number of pictures that it takes; None for any.
        description: all of that in words, such as "float32 [N, 3, 224, 224]".
    """

    name: str
    dtype: str
    layout: Layout
    batch: int | None
    description: str

    @property
    def takes_pixels(self) -> bool:
        """Whether it takes pixels as they are, so that the graph normalizes them."""
        return self.dtype == UINT8


def read_onnx(path: Path) -> Any:
    """Reads an ONNX file, and the files of its weights beside it, if it has any.

    Raises:
        RuntimeError: if the package `onnx` is not installed.
        ValueError: if the file is damaged or too large, or weights that it names are missing.
    """
    onnx = import_onnx()
    try:
        model = onnx.load(str(path))
        if model.ByteSize() > _LARGEST_BYTES:
            raise ValueError("it has more than 2 GB of weights, which a version's one file cannot hold")
        onnx.checker.check_model(model)
    except OSError as error:
        raise ValueError(f"{path} cannot be read with its weights: {reason_of(error)}") from error
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ValueError(f"{path} is ONNX that cannot be read: {_first_line(error)}") from error
    except Exception as error:  # a DecodeError of whichever protobuf is installed
        raise ValueError(f"{path} is ONNX, but damaged: {_first_line(error)}") from error
    return model


def picture_input(model: Any, spec: InputSpec) -> PictureInput:
    """Returns the graph's input.

    Raises:
        Unusable: if the graph is too old, or its input cannot take such pictures.
    """
    _require_opset(model)
    value = _only_input(model.graph)
    kind = value.type.tensor_type
    name = import_onnx().TensorProto.DataType.Name(kind.elem_type)
    if name not in _DTYPES:
        raise Unusable(problem(f"takes {name.lower()}", "export it so that it takes float32 or uint8 pixels"))
    sizes: list[int | None] = [None] * _RANK
    if kind.HasField("shape"):
        sizes = [each.dim_value or None for each in kind.shape.dim]
    if len(sizes) != _RANK:
        shown = ", ".join(str(size or "N") for size in sizes)
        raise Unusable(problem(f"takes [{shown}]", "export it so that it takes pictures, [N, C, H, W]"))
    layout = Layout.NHWC if sizes[1] != spec.channels and sizes[3] == spec.channels else Layout.NCHW
    _require_fitting(sizes, layout, spec)
    shape = _shape(layout, spec)
    return PictureInput(value.name, _DTYPES[name], layout, sizes[0], f"{_DTYPES[name]} {shape}")


def takes_pixels(model: Any) -> bool:
    """Whether the first input takes uint8, so that the graph normalizes the pixels itself."""
    constants = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in constants]
    return bool(inputs) and inputs[0].type.tensor_type.elem_type == import_onnx().TensorProto.UINT8


def require_one_logits_output(outputs: Sequence[Any]) -> None:
    """Raises Unusable if there are several outputs, of which any may be the logits."""
    if len(outputs) != 1:
        names = ", ".join(each.name for each in outputs)
        raise Unusable(
            problem(
                f"gives {len(outputs)} outputs ({names}), but must give one tensor of logits",
                "export a module whose forward returns the logits alone"
                + f", or say --features {outputs[1].name} if these are features" * (len(outputs) == 2),
            )
        )


def normalized_already() -> Finding:
    """Returns the problem of a mean or deviation for a graph that takes pixels as they are."""
    return problem("takes uint8 pixels, and so normalizes them itself", "leave --mean and --std out")


def unusable_batch(batch: int) -> Finding:
    """Returns the problem of a graph whose batch is fixed for good."""
    size = "one picture" if batch == 1 else f"exactly {batch} pictures"
    return problem(f"takes {size} at a time, and its graph fails or answers otherwise with more", _DYNAMIC_BATCH)


def _require_opset(model: Any) -> None:
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), _OLDEST_OPSET)
    if opset < _OLDEST_OPSET:
        advice = f"export it again, or convert it with onnx.version_converter to opset {_OLDEST_OPSET} or later"
        raise Unusable(problem(f"is of opset {opset}, which is too old", advice))


def _only_input(graph: Any) -> Any:
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        text = f"takes {len(inputs)} inputs ({names}), but must take one, the pictures"
        raise Unusable(problem(text, "export a module whose forward takes the pictures alone"))
    return inputs[0]


def _require_fitting(sizes: list[int | None], layout: Layout, spec: InputSpec) -> None:
    channels, height, width = (sizes[1], *sizes[2:]) if layout is Layout.NCHW else (sizes[3], *sizes[1:3])
    if channels not in (None, spec.channels):
        text = f"takes {channels} channels, but pictures have {spec.channels} here"
        advice = f"say --channels {channels}" if channels in (1, 3) else "export a network that takes 1 or 3 channels"
        raise Unusable(problem(text, advice))
    if height not in (None, spec.height) or width not in (None, spec.width):
        own = f"{height or spec.height}x{width or spec.width}"
        raise Unusable(problem(f"takes pictures of {own}, not of {spec.height}x{spec.width}", f"say --size {own}"))


def _shape(layout: Layout, spec: InputSpec) -> str:
    channels, size = str(spec.channels), f"{spec.height}, {spec.width}"
    return f"[N, {channels}, {size}]" if layout is Layout.NCHW else f"[N, {size}, {channels}]"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or "no reason given"
