"""`linnaeus-zoo import`: writes a user's own TorchScript classifier into a model repository."""

from pathlib import Path
from typing import Annotated

import typer

from linnaeus.models.manifest import InputSpec


def import_(
    model: Annotated[Path, typer.Argument(help="TorchScript: float32 [N, C, H, W] in, logits [N, classes] out.")],
    name: Annotated[str, typer.Option(help="What to call it in the repository.")],
    labels: Annotated[Path, typer.Option(help="One label a line, by class index.")],
    size: Annotated[str, typer.Option(metavar="H[xW]", help="What the model takes, in pixels.")],
    mean: Annotated[str, typer.Option(metavar="M[,M,M]", help="For each channel, of pixels between 0 and 1.")],
    std: Annotated[str, typer.Option(metavar="S[,S,S]", help="For each channel, of pixels between 0 and 1.")],
    resize: Annotated[
        int | None, typer.Option(min=1, help="The shorter side before the middle is cut out; default: the size.")
    ] = None,
    channels: Annotated[int, typer.Option(help="3 for colour, 1 for grey.")] = 3,
    interpolation: Annotated[str, typer.Option(help="bilinear or bicubic.")] = "bilinear",
    repository: Annotated[
        Path, typer.Option(envvar="LINNAEUS_REPOSITORY", help="Where the version folder goes.")
    ] = Path("model-repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: one above the highest there.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures; up to 16 go along, for the server to compare precisions by."),
    ] = None,
) -> None:
    """Wraps a TorchScript image classifier so that the server takes pixels and gives probabilities."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.export.torchscript_import import ModelMetadata, import_torchscript
    from linnaeus.models.export.version_folder import next_version
    from linnaeus.models.labels import read_label_file

    height, width = _size(size)
    spec = InputSpec(channels, height, width, resize or max(height, width), interpolation)
    metadata = ModelMetadata(
        name, spec, _numbers("mean", mean), _numbers("std", std), read_label_file(labels), calibration
    )
    print(import_torchscript(model, metadata, repository, version or next_version(repository, name)))


def _size(text: str) -> tuple[int, int]:
    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"--size is {text!r}, but must be a number of pixels or HxW, such as 224x224") from None


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--{option} is {text!r}, but must be numbers between commas, one a channel") from None
