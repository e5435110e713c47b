"""One run of `classify`: classifies the inputs, writes the outcomes, copies the images.

Connects inputs, client, writer, progress bar and copies; knows no option's name.
"""

import asyncio
import os
from contextlib import aclosing
from dataclasses import dataclass, replace

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli import output
from linnaeus.client.cli.classify.classify_inputs import ClassifyOptions, classify_inputs
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Inputs
from linnaeus.client.cli.classify.outcomes import Classified, CommandOutcome, Failed
from linnaeus.client.cli.classify.output_formats import OutcomeWriter, OutputFormat, make_writer
from linnaeus.client.cli.classify.progress_bar import progress_bar
from linnaeus.client.cli.classify.run_report import RunReport
from linnaeus.client.cli.classify.sort_into import Sorter
from linnaeus.client.cli.connection import Connection
from linnaeus.client.cli.connection_help import Explanation, explain
from linnaeus.client.errors import InvalidImage

# Images in a row that fail by a cause that concerns all before a run that had answers is given up: a server that
# restarts is back before.
_MIN_PATIENCE = 32
# The file name of an image from standard input.
_STANDARD_INPUT_NAME = "stdin"


@dataclass(frozen=True, slots=True)
class ClassifyRun:
    """The options of one run.

    Attributes:
        connection: the options of the connection.
        inputs: the images.
        options: of every request.
        concurrency: the maximum number of images in flight.
        output_format: the format on stdout.
        sorter: copies the images; None for no copies.
        use_stream: whether all images are sent over one stream.
    """

    connection: Connection
    inputs: Inputs
    options: ClassifyOptions
    concurrency: int
    output_format: OutputFormat
    sorter: Sorter | None
    use_stream: bool = False

    async def run(self, client: AsyncClient) -> bool:
        """Classifies, writes and copies; closes the client. Returns whether there was no failure."""
        total = await asyncio.to_thread(self.inputs.count)
        report = RunReport(total, patience=max(_MIN_PATIENCE, 2 * self.concurrency))
        try:
            succeeded = await self._run(client, report, total)
        except asyncio.CancelledError:  # Ctrl-C
            report.write_summary()
            raise
        report.write_summary()
        return succeeded

    async def _run(self, client: AsyncClient, report: RunReport, total: int | None) -> bool:
        writer = make_writer(self.output_format, report.write_failure, with_copies=self.sorter is not None)
        succeeded, explanations = True, _Explanations(self.connection)
        stream = classify_inputs(
            client,
            self.inputs,
            self.options,
            concurrency=self.concurrency,
            use_stream=self.use_stream,
        )
        async with client, aclosing(stream) as outcomes:
            with progress_bar(total, writes_at_once=self.output_format is not OutputFormat.TABLE) as advance:
                async for outcome in outcomes:
                    explained = await explanations.add_to(outcome)
                    succeeded &= await self._write(explained, writer)
                    advance(isinstance(explained, Failed))
                    report.count(explained)
                    if report.is_hopeless:
                        break
            writer.close()
        if self.sorter is not None and self.output_format is OutputFormat.TABLE:
            output.write_lines([output.printable(self.sorter.summary)])
        return succeeded

    async def _write(self, outcome: CommandOutcome, writer: OutcomeWriter) -> bool:
        """Copies the image, if wanted and if it has a label, and writes the outcome.

        A failed copy does not suppress the answer.
        """
        if isinstance(outcome, Failed) or self.sorter is None or not outcome.result.classes:
            writer.write(outcome)
            return isinstance(outcome, Classified)
        copied_to = await asyncio.to_thread(self._copy, self.sorter, outcome)
        writer.write(replace(outcome, copied_to=copied_to))
        return copied_to is not None

    def _copy(self, sorter: Sorter, outcome: Classified) -> str | None:
        from_standard_input = outcome.picture == STANDARD_INPUT
        source = self.inputs.standard_input if from_standard_input else outcome.picture
        name = _STANDARD_INPUT_NAME if from_standard_input else os.path.basename(outcome.picture)
        try:
            return str(sorter.copy(source, name, outcome.result.top.label))
        except OSError as error:
            output.write_error(f"{outcome.picture}: it could not be copied: {error.strerror or error}")
            return None


class _Explanations:
    """Explains each cause once, however many images fail by it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[type[Exception], str], Explanation] = {}

    async def add_to(self, outcome: CommandOutcome) -> CommandOutcome:
        """Returns the outcome; a failure that is not the image's own has an explanation."""
        if not isinstance(outcome, Failed) or isinstance(outcome.error, InvalidImage):
            return outcome
        cause = (type(outcome.error), str(outcome.error))
        if cause not in self._known:
            self._known[cause] = await asyncio.to_thread(explain, outcome.error, self._connection)
        return replace(outcome, explanation=self._known[cause])
