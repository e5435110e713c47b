"""What became of one picture among many: an answer or an error, beside the picture it belongs to.

Plain frozen data. Knows nothing of how the pictures are sent, nor in which order the outcomes come.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from linnaeus.client.errors import LinnaeusError
from linnaeus.client.images.image_source import ImageSource
from linnaeus.client.results import Classification


@dataclass(frozen=True, slots=True)
class Outcome:
    """One picture's answer, or why there is none.

        for outcome in client.classify_many(paths):
            print(outcome.name, outcome.unwrap().top.label if outcome.ok else outcome.error)

    Invariants:
        - exactly one of `result` and `error` is None.

    Attributes:
        index: the picture's place among those given, from 0.
        source: the picture, as it was given.
        result: the answer.
        error: why there is no answer.
        elapsed_seconds: reading the picture, sending it and waiting for the answer, on this side's clock.
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
        """The path as it was given; what is no path is called by its place, `picture 0` being the first."""
        return os.fspath(self.source) if isinstance(self.source, str | os.PathLike) else f"picture {self.index}"

    def unwrap(self) -> Classification:
        """Returns the answer.

        Raises:
            LinnaeusError: there is none; the error that `error` holds.
        """
        if self.result is None:
            raise self.error or LinnaeusError(f"{self.name}: there is neither an answer nor an error")
        return self.result

    def to_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, strings, numbers and None, without the picture itself.

        `result` is `Classification.to_dict()`, with labels and timings; `error` has `type`, `message` and `details`.
        """
        return {
            "index": self.index,
            "picture": self.name,
            "result": None if self.result is None else self.result.to_dict(),
            "error": None if self.error is None else _plain_error(self.error),
            "elapsed_seconds": self.elapsed_seconds,
        }


def _plain_error(error: LinnaeusError) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "details": [dict(detail) for detail in error.details],
    }
