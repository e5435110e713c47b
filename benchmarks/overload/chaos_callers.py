"""Callers of the chaos: each call is normal, cancelled, corrupt or short of time, and each outcome is checked.

They run in a process of their own. Nothing here knows the server's process, nor more of a model than its name.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc

from benchmarks.overload.grpc_callers import connect
from linnaeus.v1 import classifier_pb2 as v1

GOOD, CANCELLED, CORRUPT, HURRIED = "good", "cancelled", "corrupt", "hurried"
# Shares of all calls; the rest is good.
SHARES = {CANCELLED: 0.30, CORRUPT: 0.05, HURRIED: 0.05}
# The status names that each kind of call may end with.
ALLOWED = {
    GOOD: {"OK"},
    CANCELLED: {"OK", "CANCELLED"},
    CORRUPT: {"INVALID_ARGUMENT"},
    HURRIED: {"OK", "DEADLINE_EXCEEDED"},
}
LATEST_CANCEL_SECONDS = 0.2
HURRIED_SECONDS = (0.001, 0.1)
DEADLINE_SECONDS = 10.0
# A call that has no outcome so long after its deadline hangs.
PATIENCE_SECONDS = 5.0
TOP_K, REFERENCE_TOP_K = 5, 10
TOLERANCE = 1e-3
_EXAMPLES_KEPT = 5

# Label and probability by class index.
Reference: TypeAlias = dict[int, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """An encoded image and the model that it is sent to."""

    model: str
    image: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ChaosLoad:
    """What is sent.

    Attributes:
        target: the server's address.
        samples: drawn at random.
        references: the answer to each sample at rest.
        callers: calls in flight.
        seconds: how long new calls are sent.
        seed: of all random choices.
    """

    target: str
    samples: Sequence[Sample]
    references: Sequence[Reference]
    callers: int
    seconds: float
    seed: int


@dataclass(slots=True)
class Outcomes:
    """Outcomes of the calls.

    Attributes:
        codes: calls by kind and status name.
        unexpected: calls that ended with a status that their kind does not allow.
        hung: calls without an outcome.
        wrong: answers that do not belong to the image.
        examples: a few sentences on what went wrong.
    """

    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: int = 0
    hung: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def explain(self, sentence: str) -> None:
        """Keeps the first few sentences."""
        if len(self.examples) < _EXAMPLES_KEPT:
            self.examples.append(sentence)


def answers_at_rest(target: str, samples: Sequence[Sample]) -> list[Reference]:
    """Returns the answer to each sample when it is sent alone.

    Raises:
        grpc.aio.AioRpcError: if one is not answered.
    """
    return asyncio.run(_answers_at_rest(target, samples))


def run_chaos(load: ChaosLoad) -> Outcomes:
    """Sends calls until the time is over; returns when each has ended or hangs."""
    return asyncio.run(_run_chaos(load))


async def _answers_at_rest(target: str, samples: Sequence[Sample]) -> list[Reference]:
    async with connect(target) as classify:
        messages = [_request(each, each.image, "", REFERENCE_TOP_K) for each in samples]
        return [_reference(await classify(message, timeout=DEADLINE_SECONDS)) for message in messages]


def _reference(answer: bytes) -> Reference:
    return {each.index: (each.label, each.probability) for each in v1.ClassifyResponse.FromString(answer).classes}


async def _run_chaos(load: ChaosLoad) -> Outcomes:
    outcomes = Outcomes()
    end = time.monotonic() + load.seconds

    async def caller(number: int) -> None:
        random_source, turn = random.Random(f"{load.seed} {number}"), 0
        while time.monotonic() < end:
            await _Call(load, classify, outcomes, random_source, f"{number}.{turn}").run()
            turn += 1

    async with connect(load.target) as classify:
        await asyncio.gather(*(caller(number) for number in range(load.callers)))
    return outcomes


class _Call:
    """One call: its random kind and sample, and the check of its outcome."""

    def __init__(
        self, load: ChaosLoad, classify: Any, outcomes: Outcomes, random_source: random.Random, image_id: str
    ) -> None:
        self._classify = classify
        self._outcomes = outcomes
        self._random = random_source
        self._image_id = image_id
        self._kind = self._random_kind()
        place = random_source.randrange(len(load.samples))
        self._sample, self._reference = load.samples[place], load.references[place]

    async def run(self) -> None:
        """Sends the call and waits for its end."""
        seconds = self._random.uniform(*HURRIED_SECONDS) if self._kind == HURRIED else DEADLINE_SECONDS
        image = self._corrupted() if self._kind == CORRUPT else self._sample.image
        call = self._classify(_request(self._sample, image, self._image_id, TOP_K), timeout=seconds)
        if self._kind == CANCELLED:
            await asyncio.sleep(self._random.uniform(0, LATEST_CANCEL_SECONDS))
            call.cancel()
        try:
            code: grpc.StatusCode = await asyncio.wait_for(call.code(), seconds + PATIENCE_SECONDS)
        except TimeoutError:
            self._outcomes.hung += 1
            self._outcomes.explain(f"{self._description()} has no outcome")
            return
        await self._check(call, code)

    async def _check(self, call: Any, code: grpc.StatusCode) -> None:
        self._outcomes.codes[self._kind, code.name] += 1
        if code.name not in ALLOWED[self._kind]:
            self._outcomes.unexpected += 1
            self._outcomes.explain(f"{self._description()} ended as {code.name}: {await call.details()}")
        elif code is grpc.StatusCode.OK and (mismatch := self._mismatch(v1.ClassifyResponse.FromString(await call))):
            self._outcomes.wrong += 1
            self._outcomes.explain(f"{self._description()} got {mismatch}")

    def _mismatch(self, answer: v1.ClassifyResponse) -> str:
        """Describes what shows that an answer belongs to another image; empty if nothing does."""
        if (answer.image_id, answer.model) != (self._image_id, self._sample.model):
            return f"the answer to {answer.image_id} from {answer.model}"
        if len(answer.classes) != TOP_K:
            return f"{len(answer.classes)} classes instead of {TOP_K}"
        return next((f"{each.label} {each.probability:.4f}" for each in answer.classes if not self._agrees(each)), "")

    def _agrees(self, scored: v1.ScoredClass) -> bool:
        """Returns whether the reference has the class with about that probability; ranks may differ."""
        label, probability = self._reference.get(scored.index, ("", -1.0))
        return label == scored.label and abs(probability - scored.probability) <= TOLERANCE

    def _random_kind(self) -> str:
        kinds = [*SHARES, GOOD]
        return self._random.choices(kinds, [*SHARES.values(), 1.0 - sum(SHARES.values())])[0]

    def _corrupted(self) -> bytes:
        """Returns the image with its first bytes inverted, or only its first bytes."""
        image = self._sample.image
        if self._random.random() < 0.5:
            return bytes(byte ^ 0xFF for byte in image[:16]) + image[16:]
        return image[: self._random.randrange(16)]

    def _description(self) -> str:
        return f"call {self._image_id} of {self._sample.model}, {self._kind},"


def _request(sample: Sample, image: bytes, image_id: str, top_k: int) -> bytes:
    content = v1.Image(encoded=image, id=image_id)
    return v1.ClassifyRequest(image=content, model=sample.model, top_k=top_k).SerializeToString()
