"""The table of `models` and the lines below it: model versions in, a rich table and text out."""

from collections import Counter
from collections.abc import Iterable
from typing import Literal

from rich.table import Table

from linnaeus.client.cli.output import plain_table, printable
from linnaeus.client.results import ModelInfo, ModelInput

_MILLION = 1_000_000
# Heading, alignment, and whether the column is omitted from a narrow table.
_COLUMNS: tuple[tuple[str, Literal["left", "right"], bool], ...] = (
    ("name", "left", False),
    ("version", "right", False),
    ("state", "left", False),
    ("architecture", "left", True),
    ("input CxHxW", "left", False),
    ("classes", "right", False),
    ("weights", "left", True),
    ("parameters", "right", False),
    ("max batch", "right", False),
)


def model_table(models: Iterable[ModelInfo], *, narrow: bool = False) -> Table:
    """Returns a table with one row a model version; a narrow one leaves the two widest columns to `model_notes`."""
    table = plain_table()
    for heading, justify, wide_only in _COLUMNS:
        if not (narrow and wide_only):
            table.add_column(heading, justify=justify, no_wrap=not wide_only and heading != "name", overflow="fold")
    for model in models:
        cells = zip(_row(model), _COLUMNS, strict=True)
        table.add_row(*(cell for cell, (_, _, wide_only) in cells if not (narrow and wide_only)))
    return table


def model_notes(models: Iterable[ModelInfo], *, narrow: bool = False) -> list[str]:
    """Returns the lines below the table: labels, a precision other than float32, runtimes, errors.

    For a narrow table also architecture and weights.
    """
    models, notes = list(models), []
    versions = Counter(model.name for model in models)
    for model in models:
        name = f"{model.name} v{model.version}"
        if narrow and model.architecture:
            notes.append(printable(f"{name}: {model.architecture}, {_weights(model)}"))
        is_one_of_several = model.is_default and versions[model.name] > 1
        labels = [*model.version_labels, *(["default"] if is_one_of_several else [])]
        if labels:
            notes.append(printable(f"{name}: {', '.join(labels)}"))
        if reduced := [each for each in model.specialisations if each.precision != "float32"]:
            precisions = ", ".join(f"{each.precision} on {each.device}" for each in reduced)
            notes.append(printable(f"{name} computes in {precisions}"))
        for each in model.specialisations:
            if each.runtime:
                notes.append(printable(f"{name} is computed by {each.runtime} on {each.device}: {each.runtime_reason}"))
        if model.state_reason:
            notes.append(printable(f"{name} {model.state}: {model.state_reason}"))
    return notes


def _row(model: ModelInfo) -> tuple[str, ...]:
    """Returns the cells; what is unknown is empty, because 0 classes would be wrong."""
    return (
        printable(model.name),
        str(model.version),
        str(model.state),
        printable(model.architecture),
        _input(model.input),
        f"{model.class_count:,}" if model.class_count else "",
        _weights(model),
        _parameters(model.parameter_count),
        str(model.max_batch_size) if model.max_batch_size else "",
    )


def _input(model_input: ModelInput | None) -> str:
    return "" if model_input is None else f"{model_input.channels}x{model_input.height}x{model_input.width}"


def _weights(model: ModelInfo) -> str:
    if model.untrained:
        return "untrained"
    return "" if model.weights is None else printable(model.weights.source)


def _parameters(count: int) -> str:
    if count >= _MILLION:
        return f"{count / _MILLION:.1f} M"
    return f"{count:,}" if count else ""
