"""The forms in which outcomes leave the command: a table, one JSON array, JSON lines, CSV.

Each form takes one outcome after another and holds no more than it must, so that memory is bounded however many
pictures there are. Failures are lines on stderr besides, in every form.
"""

import csv
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol

from linnaeus.client.cli import output as writing
from linnaeus.client.cli.classify.outcomes import Answered, Failed, Outcome
from linnaeus.client.cli.tables import classification_table

# The columns of a table need all its rows: so many pictures share one.
_PICTURES_A_TABLE = 500
CSV_COLUMNS = ("file", "rank", "index", "label", "probability", "model", "version", "error")


class Output(StrEnum):
    """What `--output` takes."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Form(Protocol):
    """Writes outcomes to stdout, and their failures to stderr."""

    def write(self, outcome: Outcome) -> None:
        """Takes the next outcome."""

    def end(self) -> None:
        """Writes what is left; nothing follows."""


def form(output: Output, *, sorting: bool = False) -> Form:
    """Makes the form; `sorting` adds where the copies are to what has columns for it."""
    writing.tolerate_any_letter()
    if output is Output.TABLE:
        return TableForm()
    if output is Output.JSON:
        return JsonForm()
    return CsvForm(sorting=sorting) if output is Output.CSV else JsonLinesForm()


class TableForm:
    """Tables for people, each followed by the failures among its pictures."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def write(self, outcome: Outcome) -> None:
        """Keeps it, or writes the table that is full."""
        self._outcomes.append(outcome)
        if len(self._outcomes) == _PICTURES_A_TABLE:
            self.end()

    def end(self) -> None:
        """Writes the table that was begun."""
        answered = [outcome for outcome in self._outcomes if isinstance(outcome, Answered)]
        if answered:
            narrow = not writing.fits(classification_table(answered))
            writing.write_table(classification_table(answered, narrow=narrow))
        for outcome in self._outcomes:
            _write_failure(outcome)
        self._outcomes.clear()


class JsonForm:
    """One array, written element by element."""

    def __init__(self) -> None:
        self._before = "[\n"

    def write(self, outcome: Outcome) -> None:
        """Writes one element."""
        element = textwrap.indent(json.dumps(outcome.to_dict(), indent=2), "  ")
        sys.stdout.write(f"{self._before}{element}")
        self._before = ",\n"
        _write_failure(outcome)

    def end(self) -> None:
        """Closes the array."""
        sys.stdout.write("[]\n" if self._before == "[\n" else "\n]\n")
        sys.stdout.flush()


class JsonLinesForm:
    """One object a line, as soon as it is there."""

    def write(self, outcome: Outcome) -> None:
        """Writes one line."""
        print(json.dumps(outcome.to_dict()), flush=True)
        _write_failure(outcome)

    def end(self) -> None:
        """Nothing is left."""


class CsvForm:
    """One row a class, as soon as it is there; a failure is a row with its error."""

    def __init__(self, *, sorting: bool) -> None:
        self._sorting = sorting
        self._write_row: Callable[[list[object]], object] = csv.writer(sys.stdout, lineterminator="\n").writerow
        self._write_row([*CSV_COLUMNS, *(["copied_to"] if sorting else [])])

    def write(self, outcome: Outcome) -> None:
        """Writes the rows of one picture."""
        copied_to = getattr(outcome, "copied_to", None) or ""
        for row in _csv_rows(outcome):
            self._write_row([*row, *([copied_to] if self._sorting else [])])
        sys.stdout.flush()
        _write_failure(outcome)

    def end(self) -> None:
        """The heading stands there even without a row."""
        sys.stdout.flush()


def _csv_rows(outcome: Outcome) -> Iterator[list[object]]:
    if isinstance(outcome, Failed):
        yield [outcome.picture, "", "", "", "", "", "", outcome.message]
        return
    model, version = outcome.result.model, outcome.result.version
    for rank, scored in enumerate(outcome.result.classes, start=1):
        probability = f"{scored.probability:.6g}"
        yield [outcome.picture, rank, scored.index, scored.label, probability, model, version, ""]


def _write_failure(outcome: Outcome) -> None:
    if isinstance(outcome, Failed):
        writing.write_error(f"{outcome.picture}: {outcome.message}")
