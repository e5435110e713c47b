"""The options that `linnaeus-zoo check` and `import` share, and how their texts become values."""

from typing import Annotated

import typer

from linnaeus.models.activation import Activation
from linnaeus.models.manifest import InputSpec

Mean = Annotated[str, typer.Option(metavar="M[,M,M]", help="For each channel, of pixels between 0 and 1.")]
Deviation = Annotated[str, typer.Option(metavar="S[,S,S]", help="For each channel, of pixels between 0 and 1.")]
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


def input_spec(size: str, resize: int | None, channels: int, interpolation: str) -> InputSpec:
    """Returns how images are prepared for the model.

    Raises:
        ValueError: if the size is not `H` or `HxW`, or a value is out of range.
    """
    height, width = _parse_size(size)
    return InputSpec(channels, height, width, resize or max(height, width), interpolation)


def parse_numbers(option: str, text: str) -> tuple[float, ...]:
    """Returns the numbers between commas; `option` is the name without dashes, for the message.

    Raises:
        ValueError: if one of them is no number.
    """
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{option} is {text!r}, but must be numbers between commas, one a channel") from None


def _parse_size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"--size is {text!r}, but must be a number of pixels or HxW, such as 224x224") from None
