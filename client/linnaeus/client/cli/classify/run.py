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
from linnaeus.client.cli.classify.sort_into import Sorter

# The file name of an image from standard input.
_STANDARD_INPUT_NAME = "stdin"


@dataclass(frozen=True, slots=True)
class ClassifyRun:
    """The options of one run.

    Attributes:
        inputs: the images.
        options: of every request.
        concurrency: the maximum number of images in flight.
        output_format: the format on stdout.
        sorter: copies the images; None for no copies.
        use_stream: whether all images are sent over one stream.
    """

    inputs: Inputs
    options: ClassifyOptions
    concurrency: int
    output_format: OutputFormat
    sorter: Sorter | None
    use_stream: bool = False

    async def run(self, client: AsyncClient) -> bool:
        """Classifies, writes and copies; closes the client. Returns whether there was no failure."""
        succeeded, writer = True, make_writer(self.output_format, with_copies=self.sorter is not None)
        total = await asyncio.to_thread(self.inputs.count)
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
                    succeeded &= await self._write(outcome, writer)
                    advance(isinstance(outcome, Failed))
            writer.close()
        if self.sorter is not None and self.output_format is OutputFormat.TABLE:
            output.write_lines([output.printable(self.sorter.summary)])
        return succeeded

    async def _write(self, outcome: CommandOutcome, writer: OutcomeWriter) -> bool:
        """Copies the image, if wanted, and writes the outcome. A failed copy does not suppress the answer."""
        if isinstance(outcome, Failed) or self.sorter is None:
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
