"""Many files over one connection: so many at a time, the outcomes in the order of the files."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

from linnaeus.client.aio import AsyncClient
from linnaeus.client.cli.outcomes import Answered, Failed, Outcome
from linnaeus.client.core import DEFAULT_MAX_MESSAGE_BYTES
from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images import read_file


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked about every picture alike; empty and 0 leave it to the server."""

    model: str
    version: str
    top_k: int


async def classify_files(
    client: AsyncClient, files: Sequence[str], question: Question, *, concurrency: int
) -> tuple[Outcome, ...]:
    """Classifies every file; one that fails hurts no other.

    Args:
        client: is closed at the end.
        files: paths.
        question: the model and so on.
        concurrency: how many files are read and under way at once, which also bounds the memory they take.

    Returns:
        One outcome a file, in the order of the files.
    """
    places = asyncio.Semaphore(concurrency)
    async with client:
        outcomes = await asyncio.gather(*(_classify(client, file, question, places) for file in files))
        return await _with_training(client, outcomes)


async def _classify(
    client: AsyncClient, file: str, question: Question, places: AbstractAsyncContextManager[None]
) -> Outcome:
    async with places:
        try:
            content = await asyncio.to_thread(read_file, file, DEFAULT_MAX_MESSAGE_BYTES)
            return await _timed(client, file, content, question)
        except LinnaeusError as error:
            return Failed(file, error)


async def _timed(client: AsyncClient, file: str, content: bytes, question: Question) -> Answered:
    started = time.perf_counter()
    result = await client.classify(content, model=question.model, version=question.version, top_k=question.top_k)
    return Answered(file, result, (time.perf_counter() - started) * 1000)


async def _with_training(client: AsyncClient, outcomes: Iterable[Outcome]) -> tuple[Outcome, ...]:
    """Adds whether the models that answered were ever trained: one call for each model version."""
    seen: dict[tuple[str, int], bool | None] = {}
    completed: list[Outcome] = []
    for outcome in outcomes:
        if isinstance(outcome, Answered):
            model = (outcome.result.model, outcome.result.version)
            if model not in seen:
                seen[model] = await _trained(client, *model)
            outcome = replace(outcome, trained=seen[model])
        completed.append(outcome)
    return tuple(completed)


async def _trained(client: AsyncClient, model: str, version: int) -> bool | None:
    """None where the server does not say: an answer is not thrown away for that."""
    try:
        weights = (await client.model(model, version)).weights
    except LinnaeusError:
        return None
    return None if weights is None else weights.trained
