"""Classifies what became of one call, by its status, its latency and its answer."""

import grpc

from linnaeus.client.load.generator.records import CallOutcome, TopClass

CANCELLED = grpc.StatusCode.CANCELLED.value[0]
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
INVALID_ARGUMENT = grpc.StatusCode.INVALID_ARGUMENT.value[0]
RESOURCE_EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
# Batches of different sizes may round differently, by far less than this.
PROBABILITY_TOLERANCE = 1e-3

_BY_STATUS = {DEADLINE_EXCEEDED: CallOutcome.LATE, RESOURCE_EXHAUSTED: CallOutcome.REFUSED}


class OutcomeChecker:
    """Determines the outcome of every call; for one thread at a time.

    Attributes:
        first_answers: the first answer for each image, by the image's index in the plan.
    """

    def __init__(self, deadline_seconds: float) -> None:
        self._deadline_seconds = deadline_seconds
        self.first_answers: dict[int, TopClass] = {}

    def outcome(self, code: int, top: TopClass | None, image: int, latency_seconds: float) -> CallOutcome:
        """Returns the outcome for an intact image; `top` is None unless the code is 0."""
        if code or top is None:
            return _BY_STATUS.get(code, CallOutcome.FAILED)
        if latency_seconds > self._deadline_seconds:
            return CallOutcome.LATE
        is_same = same_answer(self.first_answers.setdefault(image, top), top)
        return CallOutcome.OK if is_same else CallOutcome.DIFFERED

    @staticmethod
    def outcome_of_corrupt(code: int) -> CallOutcome:
        """Returns the outcome for a corrupt image: an answer is a failure, INVALID_ARGUMENT is as expected."""
        return CallOutcome.CORRUPT if code == INVALID_ARGUMENT else _BY_STATUS.get(code, CallOutcome.FAILED)


def same_answer(one: TopClass, other: TopClass) -> bool:
    """Returns whether two answers name the same class with about the same probability."""
    return one[:2] == other[:2] and abs(one[2] - other[2]) <= PROBABILITY_TOLERANCE
