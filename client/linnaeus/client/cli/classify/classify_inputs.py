"""Classifies the inputs of the command by one client."""

import contextlib
import os
from collections.abc import AsyncGenerator
from dataclasses import dataclass

from linnaeus.client.aio.client import AsyncClient
from linnaeus.client.bulk.outcome import Outcome
from linnaeus.client.cli.classify.inputs import STANDARD_INPUT, Inputs
from linnaeus.client.cli.classify.outcomes import Classified, Failed
from linnaeus.client.errors import LinnaeusError


@dataclass(frozen=True, slots=True)
class ClassifyOptions:
    """The options of every request; empty and 0 stand for the server's defaults."""

    model: str
    version: str
    top_k: int
    priority: str | None = None
    min_probability: float = 0.0
    features: bool = False


async def classify_inputs(
    client: AsyncClient, inputs: Inputs, options: ClassifyOptions, *, concurrency: int, use_stream: bool = False
) -> AsyncGenerator[Classified | Failed, None]:
    """Classifies every image, in order; one that fails does not affect the others.

    Args:
        client: stays open.
        inputs: the images. Folders that could not be listed are yielded last, as failures.
        options: of every request.
        concurrency: the maximum number of images in flight, which also bounds the memory.
        use_stream: whether to send all images over one stream instead of one call each.
    """
    training = _TrainingStatus(client)
    classify = client.classify_stream if use_stream else client.classify_many
    stream = classify(
        inputs,
        concurrency=concurrency,
        model=options.model,
        version=options.version,
        top_k=options.top_k,
        min_probability=options.min_probability,
        features=options.features,
        priority=options.priority,
    )
    async with contextlib.aclosing(stream) as outcomes:
        async for outcome in outcomes:
            yield await _command_outcome(outcome, training)
    for name, error in inputs.failures:
        yield Failed(name, error)


class _TrainingStatus:
    """Whether the models that answered are trained; makes one call for each model version."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._known: dict[tuple[str, int], bool | None] = {}

    async def of(self, model: str, version: int) -> bool | None:
        if (model, version) not in self._known:
            self._known[model, version] = await self._query(model, version)
        return self._known[model, version]

    async def _query(self, model: str, version: int) -> bool | None:
        """Returns None if the server does not say: the answer is still worth showing."""
        try:
            weights = (await self._client.model(model, version)).weights
        except LinnaeusError:
            return None
        return None if weights is None else weights.trained


async def _command_outcome(outcome: Outcome, training: _TrainingStatus) -> Classified | Failed:
    # An image without a path came from standard input.
    name = os.fspath(outcome.source) if isinstance(outcome.source, str | os.PathLike) else STANDARD_INPUT
    if outcome.error is not None:
        return Failed(name, outcome.error)
    result = outcome.unwrap()
    trained = await training.of(result.model, result.version)
    return Classified(name, result, outcome.elapsed_seconds * 1000, trained)
