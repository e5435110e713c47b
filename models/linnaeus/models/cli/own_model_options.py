"""The options that `linnaeus-zoo check` and `import` share, and how their texts become values."""

import re
from typing import Annotated

import typer

from linnaeus.models.activation import Activation
from linnaeus.models.manifest import InputSpec

_SIZE = re.compile(r"([0-9]{1,9})(?:x([0-9]{1,9}))?")
# As in the manifest.
_MOST_PIXELS = 4096

Mean = Annotated[str | None, typer.Option(metavar="M[,M,M]", help="For each channel, of pixels between 0 and 1.")]
Deviation = Annotated[str | None, typer.Option(metavar="S[,S,S]", help="For each channel, of pixels between 0 and 1.")]
Resize = Annotated[
    int | None, typer.Option(min=1, help="The shorter side before the middle is cut out; default: the size.")
]
Interpolation = Annotated[str, typer.Option(help="bilinear or bicubic.")]
Channels = Annotated[int, typer.Option(help="3 for colour, 1 for grey.")]
After = Annotated[
    Activation | None,
    typer.Option(
        "--activation",
        help="What to put after the network: softmax if one label fits a picture, sigmoid if several may, none if it "
        "gives probabilities. Default: softmax, for logits only.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        metavar="NODE",
        help="Which numbers are the features. Of TorchScript whose forward gives a tuple, the logits first: 1 for its "
        "second output, or the name of a NamedTuple's field. Of ONNX: the name of an output, a tensor or a node.",
    ),
]


def input_spec(size: str, resize: int | None, channels: int, interpolation: str) -> InputSpec:
    """Returns how images are prepared for the model.

    Raises:
        ValueError: if the size is not `H` or `HxW`, or a value is out of range.
    """
    height, width = _parse_size(size)
    longer = max(height, width)
    if resize is not None and not longer <= resize <= _MOST_PIXELS:
        raise ValueError(f"--resize is {resize}, but must be between {longer}, as --size says, and {_MOST_PIXELS}")
    return InputSpec(channels, height, width, resize or longer, interpolation)


def parse_numbers(option: str, text: str | None) -> tuple[float, ...] | None:
    """Returns the numbers between commas, None for no text; `option` is the name without dashes, for the message.

    Raises:
        ValueError: if one of them is no number.
    """
    if text is None:
        return None
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{option} is {text!r}, but must be numbers between commas, one a channel") from None


def _parse_size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"--size is {text!r}, but must be a number of pixels or HxW, such as 224x224")
    height, width = int(match[1]), int(match[2] or match[1])
    if not 1 <= min(height, width) <= max(height, width) <= _MOST_PIXELS:
        raise ValueError(f"--size is {text!r}, but height and width must be between 1 and {_MOST_PIXELS} pixels")
    return height, width
