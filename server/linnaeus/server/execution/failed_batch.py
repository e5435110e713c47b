"""Reruns the images of a batch whose run raised, so that only those at fault fail."""

import logging
import uuid
from collections.abc import Callable, Sequence
from typing import TypeAlias

from linnaeus.server.errors import InternalFailure, RequestError
from linnaeus.server.requests.refusals import too_late
from linnaeus.server.requests.request import ItemOutcome, RequestTicket
from linnaeus.server.runtime.model import Model
from linnaeus.server.scheduling import Stage

logger = logging.getLogger(__name__)

_CANCELLED = RequestError("the caller left")

# Runs tickets together; the flag says whether tickets that do not fit into memory may be rerun in halves.
RunTickets: TypeAlias = Callable[[Model, Sequence[RequestTicket], bool], list[ItemOutcome]]


class FailedBatch:
    """The tickets of a run that raised; belongs to the worker's thread.

    Args:
        run: runs some of the tickets again.
        model: the model that failed.
        tickets: those that ran together, at least one.
        reference: of the failure in the log.
        clock: the queue's clock.
    """

    def __init__(
        self,
        run: RunTickets,
        model: Model,
        tickets: Sequence[RequestTicket],
        reference: str,
        clock: Callable[[], float],
    ) -> None:
        self._run = run
        self._model = model
        self._tickets = tickets
        self._reference = reference
        self._clock = clock

    def run_one_by_one(self, halves: bool) -> list[ItemOutcome]:
        """Runs each image by itself; one that failed by itself gets its error."""
        if len(self._tickets) == 1:
            cause = f"the server's log has the cause under {self._reference}"
            return self._fail(f"model {model_label(self._model)} failed on this image; {cause}")
        return [outcome for ticket in self._tickets for outcome in self._rerun([ticket], halves)]

    def run_halves(self, halves: bool) -> list[ItemOutcome]:
        """Runs the images in two halves, which need less memory; fails all if not `halves` or if there is one image."""
        middle = (len(self._tickets) + 1) // 2
        if halves and middle < len(self._tickets):
            parts = self._tickets[:middle], self._tickets[middle:]
            return [outcome for part in parts for outcome in self._rerun(part, halves=False)]
        label = model_label(self._model)
        return self._fail(f"the device has too little memory left for model {label} (log reference {self._reference})")

    def _fail(self, message: str) -> list[ItemOutcome]:
        return [ItemOutcome(ticket, InternalFailure(message, self._reference), 1, 0.0) for ticket in self._tickets]

    def _rerun(self, tickets: Sequence[RequestTicket], halves: bool) -> list[ItemOutcome]:
        """Runs the tickets whose callers still wait and whose deadlines are still to come."""
        now = self._clock()
        cancelled = [ticket for ticket in tickets if ticket.stage is Stage.ENDED]
        late = [ticket for ticket in tickets if ticket not in cancelled and not ticket.is_before_deadline(now)]
        rest = [ticket for ticket in tickets if ticket not in cancelled and ticket not in late]
        ended = [ItemOutcome(ticket, _CANCELLED, 1, 0.0) for ticket in cancelled]
        ended += [late_outcome(ticket, self._clock()) for ticket in late]
        return ended + (self._run(self._model, rest, halves) if rest else [])


def late_outcome(ticket: RequestTicket, now: float) -> ItemOutcome:
    """Returns the outcome of a ticket that waited for the device until its deadline could not be met."""
    return ItemOutcome(ticket, too_late(ticket, now, "waited for the device"), 0, 0.0)


def log_failure(model: Model, tickets: Sequence[RequestTicket], error: Exception) -> str:
    """Logs a run that raised; returns the reference to it."""
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s failed on a batch of %d [%s]", model_label(model), len(tickets), reference, exc_info=error)
    return reference


def model_label(model: Model) -> str:
    """Returns `name/version`."""
    return f"{model.manifest.name}/{model.manifest.version}"
