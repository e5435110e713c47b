"""The output formats of `classify`: table, JSON array, JSON lines, CSV.

A writer takes one outcome after another and keeps no more than it must, so memory is bounded however many images there
are. In every format, failures are also reported by `report_failure`, which writes lines on stderr.
"""

import csv
import io
import json
import sys
import textwrap
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Protocol

from linnaeus.client.cli import output
from linnaeus.client.cli.classify.outcomes import Classified, CommandOutcome, Failed
from linnaeus.client.cli.classify.table import classification_table

# The column widths of a table depend on all its rows, so its number of images is limited.
_IMAGES_PER_TABLE = 500
ReportFailure = Callable[[Failed], None]
CSV_COLUMNS = ("file", "rank", "index", "label", "probability", "model", "version", "error")


class OutputFormat(StrEnum):
    """The values of `--output`."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class OutcomeWriter(Protocol):
    """Writes outcomes to stdout and reports failures."""

    def write(self, outcome: CommandOutcome) -> None:
        """Writes or keeps the next outcome."""

    def close(self) -> None:
        """Writes the rest."""


def make_writer(
    output_format: OutputFormat, report_failure: ReportFailure, *, with_copies: bool = False
) -> OutcomeWriter:
    """Returns the writer for a format.

    Args:
        output_format: the format.
        report_failure: is called with each failure.
        with_copies: whether a CSV file has a column for the path of a copy; JSON has it whenever there is a copy.
    """
    output.escape_unencodable()
    if output_format is OutputFormat.TABLE:
        return TableWriter(report_failure)
    if output_format is OutputFormat.JSON:
        return JsonWriter(report_failure)
    if output_format is OutputFormat.CSV:
        return CsvWriter(report_failure, with_copies=with_copies)
    return JsonLinesWriter(report_failure)


class TableWriter:
    """Writes tables, each followed by the failures among its images."""

    def __init__(self, report_failure: ReportFailure) -> None:
        self._report_failure = report_failure
        self._outcomes: list[CommandOutcome] = []

    def write(self, outcome: CommandOutcome) -> None:
        """Keeps the outcome; writes the table if it is full."""
        self._outcomes.append(outcome)
        if len(self._outcomes) == _IMAGES_PER_TABLE:
            self.close()

    def close(self) -> None:
        """Writes the last table."""
        classified = [outcome for outcome in self._outcomes if isinstance(outcome, Classified)]
        if classified:
            narrow = not output.fits(classification_table(classified))
            output.write_table(classification_table(classified, narrow=narrow))
        for outcome in self._outcomes:
            if isinstance(outcome, Failed):
                self._report_failure(outcome)
        self._outcomes.clear()


class JsonWriter:
    """Writes one array, element by element."""

    def __init__(self, report_failure: ReportFailure) -> None:
        self._report_failure = report_failure
        self._separator = "[\n"

    def write(self, outcome: CommandOutcome) -> None:
        """Writes one element."""
        element = textwrap.indent(json.dumps(outcome.to_dict(), indent=2), "  ")
        sys.stdout.write(f"{self._separator}{element}")
        self._separator = ",\n"
        if isinstance(outcome, Failed):
            self._report_failure(outcome)

    def close(self) -> None:
        """Closes the array."""
        sys.stdout.write("[]\n" if self._separator == "[\n" else "\n]\n")
        sys.stdout.flush()


class JsonLinesWriter:
    """Writes one object a line, at once."""

    def __init__(self, report_failure: ReportFailure) -> None:
        self._report_failure = report_failure

    def write(self, outcome: CommandOutcome) -> None:
        """Writes one line."""
        print(json.dumps(outcome.to_dict()), flush=True)
        if isinstance(outcome, Failed):
            self._report_failure(outcome)

    def close(self) -> None:
        """Does nothing: every line is written."""


class CsvWriter:
    """Writes one row a class, at once; a failure is a row with its error."""

    def __init__(self, report_failure: ReportFailure, *, with_copies: bool) -> None:
        self._report_failure = report_failure
        self._with_copies = with_copies
        _write_csv_row([*CSV_COLUMNS, *(["copied_to"] if with_copies else [])])

    def write(self, outcome: CommandOutcome) -> None:
        """Writes the rows of one image."""
        copied_to = getattr(outcome, "copied_to", None) or ""
        for row in _csv_rows(outcome):
            _write_csv_row([*row, *([copied_to] if self._with_copies else [])])
        sys.stdout.flush()
        if isinstance(outcome, Failed):
            self._report_failure(outcome)

    def close(self) -> None:
        """Flushes the heading, in case there was no row."""
        sys.stdout.flush()


def _write_csv_row(row: list[object]) -> None:
    """Writes one row, which ends with LF; a name with a line's end is quoted, as RFC 4180 has it."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n").writerow(row)  # quotes what its own line end contains, so CR as well
    sys.stdout.write(line.getvalue().removesuffix("\r\n") + "\n")


def _csv_rows(outcome: CommandOutcome) -> Iterator[list[object]]:
    if isinstance(outcome, Failed):
        yield [outcome.picture, "", "", "", "", "", "", outcome.message]
        return
    model, version = outcome.result.model, outcome.result.version
    if not outcome.result.classes:
        yield [outcome.picture, "", "", "", "", model, version, ""]
    for rank, scored in enumerate(outcome.result.classes, start=1):
        probability = f"{scored.probability:.6g}"
        yield [outcome.picture, rank, scored.index, scored.label, probability, model, version, ""]
