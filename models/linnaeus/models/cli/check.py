"""`linnaeus-zoo check`: says what a model file is and whether it can be imported; writes nothing."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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

if TYPE_CHECKING:
    from linnaeus.models.own_model.examination import Examination
    from linnaeus.models.own_model.finding import Finding

_INDENT = 9


def check(
    model: Annotated[Path, typer.Argument(help="The file to look at; it is never unpickled.")],
    size: Annotated[
        str | None, typer.Option(metavar="H[xW]", help="What the model takes, in pixels; needed to run it.")
    ] = None,
    mean: Mean = None,
    std: Deviation = None,
    labels: Annotated[Path | None, typer.Option(help="One label a line, by class index.")] = None,
    resize: Resize = None,
    channels: Channels = 3,
    interpolation: Interpolation = "bilinear",
    activation: After = None,
    features: Features = None,
) -> None:
    """Says what a model file is, what it takes and gives, and what to do next; writes nothing."""
    # Imported here, so that help and wrong usage do not wait seconds for torch.
    from linnaeus.models.labels import read_label_file
    from linnaeus.models.own_model.examination import Intent, examine

    intent = Intent(
        input_spec(size, resize, channels, interpolation) if size is not None else None,
        channels,
        parse_numbers("mean", mean),
        parse_numbers("std", std),
        read_label_file(labels) if labels else None,
        activation,
        features,
    )
    examination = examine(model, intent)
    print(f"{model}: {examination.description}")
    for finding in examination.findings:
        print(_lines(finding))
    given = {
        "labels": labels,
        "size": size,
        "resize": resize,
        "mean": mean,
        "std": std,
        "activation": activation,
        "features": features,
    }
    given |= {"channels": channels if channels != 3 else None}
    given |= {"interpolation": interpolation if interpolation != "bilinear" else None}
    print(f"\n{_conclusion(model, examination, given)}")
    if examination.problems:
        raise typer.Exit(1)


def _lines(finding: "Finding") -> str:
    """Returns a finding as a line, and what to do as another below it."""
    text = f"{finding.severity:<{_INDENT}}it {finding.text}"
    return f"{text}\n{'':{_INDENT}}-> {finding.advice}" if finding.advice else text


def _conclusion(model: Path, examination: "Examination", given: Mapping[str, object]) -> str:
    if count := len(examination.problems):
        return f"It cannot be imported as it is: {count} problem{'s' * (count > 1)}. Nothing was written."
    needed = ("labels", "size") if examination.normalizes else ("labels", "size", "mean", "std")
    missing = [f"--{option}" for option in needed if given[option] is None]
    if missing:
        return f"It can be imported; `linnaeus-zoo import` also needs --name, {', '.join(missing)}."
    options = [text for option, value in given.items() if value is not None for text in (f"--{option}", str(value))]
    command = ["linnaeus-zoo", "import", str(model), "--name", _name(model), *options]
    return f"It can be imported:\n  {shlex.join(command)}"


def _name(model: Path) -> str:
    """Returns a name for the repository, made of the file's."""
    return re.sub(r"[^a-z0-9_.-]+", "-", model.stem.lower()).strip("-._") or "mine"
