"""What the engine tells the metrics."""

from typing import Protocol

from linnaeus.server.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    ModelNotFound,
    Overloaded,
    RequestError,
    Unavailable,
)
from linnaeus.server.requests.request import BatchReport

# The first that fits counts, so a subclass stands before its base.
_REASONS: tuple[tuple[type[RequestError], str], ...] = (
    (InvalidImage, "invalid_image"),
    (InvalidArgument, "invalid_argument"),
    (ModelNotFound, "not_found"),
    (Overloaded, "queue_full"),
    (DeadlineExceeded, "deadline"),
    (Unavailable, "unavailable"),
)


class Observer(Protocol):
    """Called on the event loop's thread; must not raise."""

    def batch(self, report: BatchReport) -> None:
        """A batch came back."""

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """A request got no answer, `seconds` after it came.

        Args:
            model: empty if there is none of that name.
            reason: one word, as `rejection_reason` says it.
            version: 0 if there is none such.
            seconds: from its arrival to the error.
        """

    def cancelled(self, model: str, stage: str) -> None:
        """A caller left while its image was at that stage."""

    def load_failed(self, model: str) -> None:
        """A version of a model that the repository holds was refused, or its config.toml was."""


class Observers:
    """Several observers that hear the same, in their order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def batch(self, report: BatchReport) -> None:
        """A batch came back."""
        for observer in self._observers:
            observer.batch(report)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """A request got no answer."""
        for observer in self._observers:
            observer.rejected(model, reason, version, seconds)

    def cancelled(self, model: str, stage: str) -> None:
        """A caller left while its image was at that stage."""
        for observer in self._observers:
            observer.cancelled(model, stage)

    def load_failed(self, model: str) -> None:
        """A version of a model that the repository holds was refused, or its config.toml was."""
        for observer in self._observers:
            observer.load_failed(model)


def rejection_reason(error: RequestError) -> str:
    """One word for a metric's label."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "failed")
