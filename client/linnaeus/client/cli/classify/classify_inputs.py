"""Many pictures over one connection: the outcomes in their order, each with what the command shows besides."""

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Sources
from linnaeus.client.cli.classify.outcomes import Answered, Failed
from linnaeus.client.errors import LinnaeusError


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every picture alike; empty and 0 leave it to the server."""

    model: str
    version: str
    top_k: int
    priority: str | None = None


async def classify_sources(
    client: AsyncClient, sources: Sources, question: Question, *, concurrency: int, over_one_stream: bool = False
) -> AsyncGenerator[Answered | Failed, None]:
    """Classifies every picture; one that fails hurts no other. What could not be listed comes last.

    Args:
        client: stays open.
        sources: the pictures; read no further ahead than `concurrency`, which bounds the memory they take.
        question: the model and so on.
        concurrency: how many pictures are read and under way at once.
        over_one_stream: all in one call of one server, in place of a call for each.
    """
    training = _Training(client)
    classify = client.classify_stream if over_one_stream else client.classify_many
    stream = classify(
        sources,
        concurrency=concurrency,
        model=question.model,
        version=question.version,
        top_k=question.top_k,
        priority=question.priority,
    )
    async with contextlib.aclosing(stream) as outcomes:
        async for outcome in outcomes:
            yield await _shown(outcome, training)
    for name, error in sources.failures:
        yield Failed(name, error)


class _Training:
    """Whether the models that answered were ever trained: one call for each model version."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._known: dict[tuple[str, int], bool | None] = {}

    async def of(self, model: str, version: int) -> bool | None:
        if (model, version) not in self._known:
            self._known[model, version] = await self._ask(model, version)
        return self._known[model, version]

    async def _ask(self, model: str, version: int) -> bool | None:
        """None where the server does not say: an answer is not thrown away for that."""
        try:
            weights = (await self._client.model(model, version)).weights
        except LinnaeusError:
            return None
        return None if weights is None else weights.trained


async def _shown(outcome: Outcome, training: _Training) -> Answered | Failed:
    # Content without a name came by standard input.
    picture = os.fspath(outcome.source) if isinstance(outcome.source, str | os.PathLike) else STANDARD_INPUT
    if outcome.error is not None:
        return Failed(picture, outcome.error)
    result = outcome.unwrap()
    trained = await training.of(result.model, result.version)
    return Answered(picture, result, outcome.elapsed_seconds * 1000, trained)
