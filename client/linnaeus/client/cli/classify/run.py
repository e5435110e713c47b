"""One run of `classify`: from the pictures to the exit status, outcome by outcome.

Wires sources, client, form, progress and sorting; knows no option's name.
"""

import asyncio
import os
from contextlib import aclosing
from dataclasses import dataclass, replace

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.cli import output as writing
from linnaeus.client.cli.classify.classify_inputs import Question, classify_sources
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Sources
from linnaeus.client.cli.classify.outcomes import Answered, Failed, Outcome
from linnaeus.client.cli.classify.output_formats import Form, Output, form
from linnaeus.client.cli.classify.progress_bar import progress
from linnaeus.client.cli.classify.sort_into import Sorter
from linnaeus.client.cli.tables import printable

# A picture from standard input has no name of its own.
_NAMELESS = "stdin"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run does besides asking.

    Attributes:
        sources: the pictures.
        question: what is asked about each.
        concurrency: how many are under way at once.
        output: the form on stdout.
        sorter: where copies go; None: nowhere.
        over_one_stream: whether all go in one call.
    """

    sources: Sources
    question: Question
    concurrency: int
    output: Output
    sorter: Sorter | None
    over_one_stream: bool = False

    async def go(self, client: AsyncClient) -> bool:
        """Classifies, writes and copies; returns whether all went well. Closes the client."""
        well, written = True, form(self.output, sorting=self.sorter is not None)
        total = await asyncio.to_thread(self.sources.count)
        stream = classify_sources(
            client,
            self.sources,
            self.question,
            concurrency=self.concurrency,
            over_one_stream=self.over_one_stream,
        )
        async with client, aclosing(stream) as outcomes:
            with progress(total, streams=self.output is not Output.TABLE) as advance:
                async for outcome in outcomes:
                    well &= await self._write(outcome, written)
                    advance(isinstance(outcome, Failed))
            written.end()
        if self.sorter is not None and self.output is Output.TABLE:
            writing.write_lines([printable(self.sorter.summary)])
        return well

    async def _write(self, outcome: Outcome, written: Form) -> bool:
        """Writes one outcome, with where its copy is; a copy that failed takes nothing from the answer."""
        if isinstance(outcome, Failed) or self.sorter is None:
            written.write(outcome)
            return isinstance(outcome, Answered)
        copied_to = await asyncio.to_thread(self._copy, self.sorter, outcome)
        written.write(replace(outcome, copied_to=copied_to))
        return copied_to is not None

    def _copy(self, sorter: Sorter, outcome: Answered) -> str | None:
        from_standard_input = outcome.picture == STANDARD_INPUT
        source = self.sources.standard_input if from_standard_input else outcome.picture
        name = _NAMELESS if from_standard_input else os.path.basename(outcome.picture)
        try:
            return str(sorter.copy(source, name, outcome.result.top.label))
        except OSError as error:
            writing.write_error(f"{outcome.picture}: it could not be copied: {error.strerror or error}")
            return None
