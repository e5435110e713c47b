"""The tables that people read. Plain values in, rich tables out; nothing here prints."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal

from rich import box
from rich.table import Table

from linnaeus.client.cli.classify.outcomes import Answered
from linnaeus.client.results import ModelInfo, ModelInput

_MILLION = 1_000_000
# The heading, where its cells stand, and whether it is left out where there is little room.
_MODEL_COLUMNS: tuple[tuple[str, Literal["left", "right"], bool], ...] = (
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


def classification_table(answers: Iterable[Answered], *, narrow: bool = False) -> Table:
    """One row a class; what all classes of a picture share stands in its first row only.

    Narrow breaks lines where people would, to leave room for the labels.
    """
    table = _table()
    table.add_column("picture", overflow="fold")
    table.add_column("model", no_wrap=True)
    table.add_column("label", overflow="fold")
    for heading in ("probability", "milliseconds", "batch\nsize" if narrow else "batch size"):
        table.add_column(heading, justify="right", no_wrap=True)
    for answer in answers:
        for place, row in enumerate(_rows(answer, "\n" if narrow else " ")):
            table.add_row(*row, end_section=place == len(answer.result.classes) - 1 > 0)
    return table


def model_table(models: Iterable[ModelInfo], *, narrow: bool = False) -> Table:
    """One row a model version; narrow leaves the two widest columns to `model_notes`."""
    table = _table()
    for heading, justify, wide_only in _MODEL_COLUMNS:
        if not (narrow and wide_only):
            table.add_column(heading, justify=justify, no_wrap=not wide_only and heading != "name", overflow="fold")
    for model in models:
        cells = zip(_model_row(model), _MODEL_COLUMNS, strict=True)
        table.add_row(*(cell for cell, (_, _, wide_only) in cells if not (narrow and wide_only)))
    return table


def model_notes(models: Iterable[ModelInfo], *, narrow: bool = False) -> list[str]:
    """The lines under the table, for what has no room in it.

    These are labels, what a model computes in if not in float32, what is wrong and, narrow, what a model is.
    """
    models, notes = list(models), []
    several = Counter(model.name for model in models)
    for model in models:
        name = f"{model.name} v{model.version}"
        if narrow and model.architecture:
            notes.append(printable(f"{name}: {model.architecture}, {_weights(model)}"))
        called = [*model.version_labels, *(["default"] if model.is_default and several[model.name] > 1 else [])]
        if called:
            notes.append(printable(f"{name}: {', '.join(called)}"))
        if reduced := [made for made in model.specialisations if made.precision != "float32"]:
            told = ", ".join(f"{made.precision} on {made.device}" for made in reduced)
            notes.append(printable(f"{name} computes in {told}"))
        if model.state_reason:
            notes.append(printable(f"{name} {model.state}: {model.state_reason}"))
    return notes


def printable(text: str) -> str:
    """Keeps file names and a server's words from moving the cursor or breaking a line."""
    return "".join(_printable_letter(letter) for letter in text)


def _printable_letter(letter: str) -> str:
    if letter.isprintable():
        return letter
    return " " if letter.isspace() else "\N{REPLACEMENT CHARACTER}"


def _table() -> Table:
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")


def _rows(answer: Answered, break_or_space: str) -> list[Sequence[str]]:
    result = answer.result
    untrained = " (untrained)" if answer.trained is False else ""
    model = f"{printable(result.model)}{break_or_space}v{result.version}{untrained}"
    shared = (printable(answer.picture), model)
    costs = (f"{answer.milliseconds:.1f}", str(result.batch_size))
    return [
        (*(shared if place == 0 else ("", "")), printable(scored.label), f"{scored.probability:.1%}")
        + (costs if place == 0 else ("", ""))
        for place, scored in enumerate(result.classes)
    ]


def _model_row(model: ModelInfo) -> tuple[str, ...]:
    """What is not known is left empty: 0 classes would be a lie."""
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


def _input(shape: ModelInput | None) -> str:
    return "" if shape is None else f"{shape.channels}x{shape.height}x{shape.width}"


def _weights(model: ModelInfo) -> str:
    if model.untrained:
        return "untrained"
    return "" if model.weights is None else printable(model.weights.source)


def _parameters(count: int) -> str:
    if count >= _MILLION:
        return f"{count / _MILLION:.1f} M"
    return f"{count:,}" if count else ""
