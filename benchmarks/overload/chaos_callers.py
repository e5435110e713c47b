"""The callers of the chaos: each call is good, cancelled, corrupt or in too much of a hurry, and each is checked.

Runs in a process of its own. It must not know of the server's process, nor of models but by name.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

from benchmarks.overload.grpc_callers import connected
from linnaeus.v1 import classifier_pb2 as v1

GOOD, CANCELLED, CORRUPT, HURRIED = "good", "cancelled", "corrupt", "hurried"
# Shares of all calls; the rest is good.
SHARES = {CANCELLED: 0.30, CORRUPT: 0.05, HURRIED: 0.05}
# What may become of each kind of call.
ALLOWED = {
    GOOD: {"OK"},
    CANCELLED: {"OK", "CANCELLED"},
    CORRUPT: {"INVALID_ARGUMENT"},
    HURRIED: {"OK", "DEADLINE_EXCEEDED"},
}
LATEST_CANCEL_SECONDS = 0.2
HURRIED_SECONDS = (0.001, 0.1)
DEADLINE_SECONDS = 10.0
# A call without an outcome so long after its deadline hangs.
PATIENCE_SECONDS = 5.0
CLASSES_ASKED, CLASSES_KNOWN = 5, 10
TOLERANCE = 1e-3
_EXAMPLES_KEPT = 5

# By class index: label and probability.
Known = dict[int, tuple[str, float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture and the model that it is sent to."""

    model: str
    picture: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Chaos:
    """What is done to the server.

    Attributes:
        target: its address.
        samples: what is sent.
        known: what each sample was answered at rest.
        callers: at once.
        seconds: how long new calls are sent.
        seed: of all chance.
    """

    target: str
    samples: Sequence[Sample]
    known: Sequence[Known]
    callers: int
    seconds: float
    seed: int


@dataclass(slots=True)
class Outcomes:
    """What became of the calls.

    Attributes:
        codes: calls by kind and status code.
        unexpected: calls that ended as their kind may not.
        hung: calls without an outcome.
        wrong: answers that were not the picture's own.
        examples: a few sentences on what went wrong.
    """

    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    unexpected: int = 0
    hung: int = 0
    wrong: int = 0
    examples: list[str] = field(default_factory=list)

    def explain(self, sentence: str) -> None:
        """Keeps the first few."""
        if len(self.examples) < _EXAMPLES_KEPT:
            self.examples.append(sentence)


def answers_at_rest(target: str, samples: Sequence[Sample]) -> list[Known]:
    """What each sample is answered alone.

    Raises:
        grpc.aio.AioRpcError: one is not answered.
    """
    return asyncio.run(_answers_at_rest(target, samples))


def run_chaos(chaos: Chaos) -> Outcomes:
    """Sends until the time is over; returns when every call has ended or hangs."""
    return asyncio.run(_run_chaos(chaos))


async def _answers_at_rest(target: str, samples: Sequence[Sample]) -> list[Known]:
    async with connected(target) as classify:
        bodies = [_request(each, each.picture, "", CLASSES_KNOWN) for each in samples]
        return [_known(await classify(body, timeout=DEADLINE_SECONDS)) for body in bodies]


def _known(answer: bytes) -> Known:
    return {each.index: (each.label, each.probability) for each in v1.ClassifyResponse.FromString(answer).classes}


async def _run_chaos(chaos: Chaos) -> Outcomes:
    outcomes = Outcomes()
    end = time.monotonic() + chaos.seconds

    async def caller(number: int) -> None:
        chance, turn = random.Random(f"{chaos.seed} {number}"), 0
        while time.monotonic() < end:
            await _Call(chaos, classify, outcomes, chance, f"{number}.{turn}").run()
            turn += 1

    async with connected(chaos.target) as classify:
        await asyncio.gather(*(caller(number) for number in range(chaos.callers)))
    return outcomes


class _Call:
    """One call, from the choice of what it shall be to the check of what became of it."""

    def __init__(self, chaos: Chaos, classify: Any, outcomes: Outcomes, chance: random.Random, image_id: str) -> None:
        self._classify = classify
        self._outcomes = outcomes
        self._chance = chance
        self._image_id = image_id
        self._kind = self._any_kind()
        place = chance.randrange(len(chaos.samples))
        self._sample, self._known = chaos.samples[place], chaos.known[place]

    async def run(self) -> None:
        """Sends it and waits for its end."""
        seconds = self._chance.uniform(*HURRIED_SECONDS) if self._kind == HURRIED else DEADLINE_SECONDS
        picture = self._spoilt() if self._kind == CORRUPT else self._sample.picture
        call = self._classify(_request(self._sample, picture, self._image_id, CLASSES_ASKED), timeout=seconds)
        if self._kind == CANCELLED:
            await asyncio.sleep(self._chance.uniform(0, LATEST_CANCEL_SECONDS))
            call.cancel()
        try:
            code: grpc.StatusCode = await asyncio.wait_for(call.code(), seconds + PATIENCE_SECONDS)
        except TimeoutError:
            self._outcomes.hung += 1
            self._outcomes.explain(f"{self._told()} has no outcome")
            return
        await self._judge(call, code)

    async def _judge(self, call: Any, code: grpc.StatusCode) -> None:
        self._outcomes.codes[self._kind, code.name] += 1
        if code.name not in ALLOWED[self._kind]:
            self._outcomes.unexpected += 1
            self._outcomes.explain(f"{self._told()} ended as {code.name}: {await call.details()}")
        elif code is grpc.StatusCode.OK and (fault := self._fault(v1.ClassifyResponse.FromString(await call))):
            self._outcomes.wrong += 1
            self._outcomes.explain(f"{self._told()} got {fault}")

    def _fault(self, answer: v1.ClassifyResponse) -> str:
        """What shows that an answer is not this picture's; empty if nothing does."""
        if (answer.image_id, answer.model) != (self._image_id, self._sample.model):
            return f"the answer to {answer.image_id} from {answer.model}"
        if len(answer.classes) != CLASSES_ASKED:
            return f"{len(answer.classes)} classes instead of {CLASSES_ASKED}"
        return next((f"{each.label} {each.probability:.4f}" for each in answer.classes if not self._is_known(each)), "")

    def _is_known(self, scored: v1.ScoredClass) -> bool:
        """Whether a class was answered at rest about as probable; nearly equal ones may change places."""
        label, probability = self._known.get(scored.index, ("", -1.0))
        return label == scored.label and abs(probability - scored.probability) <= TOLERANCE

    def _any_kind(self) -> str:
        kinds = [*SHARES, GOOD]
        return self._chance.choices(kinds, [*SHARES.values(), 1.0 - sum(SHARES.values())])[0]

    def _spoilt(self) -> bytes:
        """The first bytes turned over, or most of the file missing."""
        picture = self._sample.picture
        if self._chance.random() < 0.5:
            return bytes(byte ^ 0xFF for byte in picture[:16]) + picture[16:]
        return picture[: self._chance.randrange(16)]

    def _told(self) -> str:
        return f"call {self._image_id} of {self._sample.model}, {self._kind},"


def _request(sample: Sample, picture: bytes, image_id: str, top_k: int) -> bytes:
    image = v1.Image(encoded=picture, id=image_id)
    return v1.ClassifyRequest(image=image, model=sample.model, top_k=top_k).SerializeToString()
