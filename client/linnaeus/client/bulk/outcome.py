"""The outcome of one image among many: its answer or its error."""

import os
import time
from dataclasses import dataclass, field
from typing import Any

from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one image, or the error instead of it.

        for outcome in client.classify_many(paths):
            print(outcome.name, outcome.unwrap().top.label if outcome.ok else outcome.error)

    Invariants:
        - exactly one of `result` and `error` is None.

    Attributes:
        index: of the image among those passed, from 0.
        source: the image as it was passed.
        result: the answer.
        error: the reason why there is no answer.
        elapsed_seconds: from reading the image to having its answer, measured by the client.
    """

    index: int
    source: ImageSource = field(compare=False, repr=False)
    result: Classification | None
    error: LinnaeusError | None
    elapsed_seconds: float = field(default=0.0, compare=False)

    @property
    def ok(self) -> bool:
        """Whether there is an answer."""
        return self.error is None

    @property
    def name(self) -> str:
        """The path as it was passed; `picture 0` for the first image if that is not a path."""
        return os.fspath(self.source) if isinstance(self.source, str | os.PathLike) else f"picture {self.index}"

    def unwrap(self) -> Classification:
        """Returns the answer.

        Raises:
            LinnaeusError: the error that `error` holds, if there is no answer.
        """
        if self.result is None:
            raise self.error or LinnaeusError(f"{self.name}: there is neither an answer nor an error")
        return self.result

    def to_dict(self) -> dict[str, Any]:
        """Converts to dicts, lists, strings, numbers and None, without the image itself.

        `result` is `Classification.to_dict()`, with labels and timings; `error` has `type`, `message` and `details`.
        """
        return {
            "index": self.index,
            "picture": self.name,
            "result": None if self.result is None else self.result.to_dict(),
            "error": None if self.error is None else _error_to_dict(self.error),
            "elapsed_seconds": self.elapsed_seconds,
        }


def _error_to_dict(error: LinnaeusError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "details": [dict(detail) for detail in error.details],
    }


class PendingImage:
    """An image whose classification has begun; measures the time until its outcome.

    Args:
        index: of the image among those passed.
        source: the image as it was passed.
        started: the start on `time.perf_counter`; None for now.
    """

    __slots__ = ("_started", "index", "source")

    def __init__(self, index: int, source: ImageSource, started: float | None = None) -> None:
        self.index = index
        self.source = source
        self._started = time.perf_counter() if started is None else started

    def outcome(self, answer: Classification | LinnaeusError) -> Outcome:
        """Returns the outcome for an answer or an error that came now."""
        elapsed_seconds = time.perf_counter() - self._started
        if isinstance(answer, LinnaeusError):
            return Outcome(self.index, self.source, None, answer, elapsed_seconds)
        return Outcome(self.index, self.source, answer, None, elapsed_seconds)
