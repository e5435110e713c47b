"""`linnaeus-zoo import`: writes a user's own classifier into a model repository."""

from pathlib import Path
from typing import Annotated

import typer

from linnaeus.models.cli.own_model_options import (
    After,
    Channels,
    Deviation,
    Features,
    Interpolation,
    Mean,
    Resize,
    input_spec,
    parse_numbers,
)


def import_(
    model: Annotated[Path, typer.Argument(help="TorchScript or ONNX: [N, C, H, W] in, [N, classes] out.")],
    name: Annotated[str, typer.Option(help="What to call it in the repository.")],
    labels: Annotated[Path, typer.Option(help="One label a line, by class index.")],
    size: Annotated[str, typer.Option(metavar="H[xW]", help="What the model takes, in pixels.")],
    mean: Mean = None,
    std: Deviation = None,
    resize: Resize = None,
    channels: Channels = 3,
    interpolation: Interpolation = "bilinear",
    activation: After = None,
    features: Features = None,
    repository: Annotated[
        Path, typer.Option(envvar="LINNAEUS_REPOSITORY", help="Where the version folder goes.")
    ] = Path("model-repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: one above the highest there.")] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder of pictures; up to 16 go along, for the server to compare precisions by."),
    ] = None,
) -> None:
    """Wraps an image classifier so that the server takes pixels and gives probabilities."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.export.own_model_import import ModelMetadata, import_model
    from linnaeus.models.export.version_folder import next_version
    from linnaeus.models.labels import read_label_file

    metadata = ModelMetadata(
        name,
        input_spec(size, resize, channels, interpolation),
        parse_numbers("mean", mean),
        parse_numbers("std", std),
        read_label_file(labels),
        calibration,
        activation,
        features,
    )
    print(import_model(model, metadata, repository, version or next_version(repository, name)))
