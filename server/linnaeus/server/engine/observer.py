"""What the engine tells the metrics."""

from typing import Protocol

from linnaeus.server.engine.work import BatchReport
from linnaeus.server.errors import (
    DeadlineExceeded,
    InvalidArgument,
    InvalidImage,
    ModelNotFound,
    Overloaded,
    RequestError,
    Unavailable,
)

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

    def rejected(self, model: str, reason: str) -> None:
        """A request got no answer; `model` is empty if there is none of that name."""

    def cancelled(self, model: str, stage: str) -> None:
        """A caller left while its image was at that stage."""

    def load_failed(self, model: str) -> None:
        """A version of a model that the repository holds was refused, or its config.toml was."""


def rejection_reason(error: RequestError) -> str:
    """One word for a metric's label."""
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), "failed")
