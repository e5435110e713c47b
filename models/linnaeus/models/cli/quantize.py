"""`linnaeus-zoo quantize`: writes an int8 version of a model in a repository."""

from pathlib import Path
from typing import Annotated

import typer


def quantize(
    model: Annotated[
        str,
        typer.Argument(metavar="NAME[:VERSION]", help="In the repository; by default its newest float32 version."),
    ],
    calibration: Annotated[
        Path,
        typer.Option(
            help="A folder of pictures; or of a folder for each class, named by label or index; or of MNIST. Some "
            "calibrate, the others judge."
        ),
    ],
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="N|SHARE", help="How many pictures judge. Default: all but half of them, or all but 300 if fewer."
        ),
    ] = None,
    accept: Annotated[bool, typer.Option("--accept", help="Write the version whatever the judgement.")] = False,
    repository: Annotated[
        Path, typer.Option(envvar="LINNAEUS_REPOSITORY", help="Where the model is, and the new version goes.")
    ] = Path("model-repository"),
    version: Annotated[int | None, typer.Option(min=1, help="Default: one above the highest there.")] = None,
) -> None:
    """Quantizes a model to int8, judges it by held-out pictures, and writes it as a new version for OpenVINO."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.quantization.agreement import describe
    from linnaeus.models.quantization.int8 import require_packages
    from linnaeus.models.quantization.quantize import QuantizationOptions, quantize

    require_packages()
    folder, agreement = quantize(QuantizationOptions(repository, model, calibration, held_out, version, accept))
    print(f"int8 has {describe(agreement)}")
    print(folder)
