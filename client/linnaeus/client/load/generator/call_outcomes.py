"""What became of one call: its status, its time and its answer weighed against what was asked.

It must not know how it was sent.
"""

import grpc

from linnaeus.client.load.generator.records import Outcome, Top

CANCELLED = grpc.StatusCode.CANCELLED.value[0]
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
# Runs of different batch sizes may round differently, by far less than this.
PROBABILITY_TOLERANCE = 1e-3

_BY_CODE = {DEADLINE_EXCEEDED: Outcome.LATE, RESOURCE_EXHAUSTED: Outcome.REFUSED}


class Judge:
    """Tells an `Outcome` for every call; one thread at a time.

    Attributes:
        first_answers: what each picture was answered first, by its place in the plan.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self.first_answers: dict[int, Top] = {}

    def outcome(self, code: int, top: Top | None, picture: int, latency_seconds: float) -> Outcome:
        """Of a whole picture: `top` is the best class when the code is 0, and None otherwise."""
        if code or top is None:
            return _BY_CODE.get(code, Outcome.FAILED)
        if latency_seconds > self._deadline_seconds:
            return Outcome.LATE
        return Outcome.OK if alike(self.first_answers.setdefault(picture, top), top) else Outcome.DIFFERED

    @staticmethod
    def outcome_of_spoilt(code: int) -> Outcome:
        """Of a spoilt picture: refused as it should be, shed or late like any, or else failed, even when answered."""
        return Outcome.CORRUPT if code == INVALID_ARGUMENT else _BY_CODE.get(code, Outcome.FAILED)


def alike(one: Top, other: Top) -> bool:
    """Whether two answers name the same class, about as sure of it."""
    return one[:2] == other[:2] and abs(one[2] - other[2]) <= PROBABILITY_TOLERANCE
