"""The observer protocol, through which the engine reports to the metrics, and the reasons of rejections."""

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

# The first match counts, so a subclass must precede its base class.
_REASONS: tuple[tuple[type[RequestError], str], ...] = (
    (InvalidImage, "invalid_image"),
    (InvalidArgument, "invalid_argument"),
    (ModelNotFound, "not_found"),
    (Overloaded, "queue_full"),
    (DeadlineExceeded, "deadline"),
    (Unavailable, "unavailable"),
)


class Observer(Protocol):
    """A receiver of the engine's events. Called on the event loop's thread; must not raise or block."""

    def batch(self, report: BatchReport) -> None:
        """Records a finished batch."""

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Records a request that ended with an error.

        Args:
            model: name of the model; empty if no such model exists.
            reason: value of the metric's label, from `rejection_reason`.
            version: version of the model; 0 if no such version exists.
            seconds: time from the request's arrival to the error.
        """

    def cancelled(self, model: str, stage: str) -> None:
        """Records a request that its caller cancelled at `stage`."""

    def load_failed(self, model: str) -> None:
        """Records that a version of a model, or its config.toml, was refused."""


class Observers:
    """A list of observers, each called with the same arguments in order."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def batch(self, report: BatchReport) -> None:
        """Records a finished batch."""
        for observer in self._observers:
            observer.batch(report)

    def rejected(self, model: str, reason: str, version: int = 0, seconds: float = 0.0) -> None:
        """Records a request that ended with an error."""
        for observer in self._observers:
            observer.rejected(model, reason, version, seconds)

    def cancelled(self, model: str, stage: str) -> None:
        """Records a request that its caller cancelled at `stage`."""
        for observer in self._observers:
            observer.cancelled(model, stage)

    def load_failed(self, model: str) -> None:
        """Records that a version of a model, or its config.toml, was refused."""
        for observer in self._observers:
            observer.load_failed(model)


def rejection_reason(error: RequestError) -> str:
    """Returns the metric label value for an error: `queue_full`, `deadline` and so on; `failed` for other errors."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "failed")
