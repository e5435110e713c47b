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

# Runs tickets in one batch. The flag is whether to rerun them in halves after an out-of-memory error.
RunTickets: TypeAlias = Callable[[Model, Sequence[RequestTicket], bool], list[ItemOutcome]]


class FailedBatch:
    """The tickets of a run that raised. Belongs to the thread that ran them.

    Args:
        run: runs tickets again.
        model: the model that raised.
        tickets: the tickets of the run, at least one.
        reference: log reference of the failure.
        clock: the queue's clock, in seconds.
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
        """Reruns each image alone; an image that was already alone fails."""
        if len(self._tickets) == 1:
            cause = f"the server's log has the cause under {self._reference}"
            return self._fail(f"model {full_name(self._model)} failed on this image; {cause}")
        return [outcome for ticket in self._tickets for outcome in self._rerun([ticket], halves)]

    def run_halves(self, halves: bool) -> list[ItemOutcome]:
        """Reruns the images in two halves, which need less memory; fails them if not `halves` or if there is one."""
        middle = (len(self._tickets) + 1) // 2
        if halves and middle < len(self._tickets):
            parts = self._tickets[:middle], self._tickets[middle:]
            return [outcome for part in parts for outcome in self._rerun(part, halves=False)]
        name = full_name(self._model)
        return self._fail(f"the device has too little memory left for model {name} (log reference {self._reference})")

    def _fail(self, message: str) -> list[ItemOutcome]:
        return [ItemOutcome(ticket, InternalFailure(message, self._reference), 1, 0.0) for ticket in self._tickets]

    def _rerun(self, tickets: Sequence[RequestTicket], halves: bool) -> list[ItemOutcome]:
        """Reruns the tickets that are neither cancelled nor past their deadlines."""
        now = self._clock()
        cancelled = [ticket for ticket in tickets if ticket.stage is Stage.ENDED]
        late = [ticket for ticket in tickets if ticket not in cancelled and not ticket.is_before_deadline(now)]
        rest = [ticket for ticket in tickets if ticket not in cancelled and ticket not in late]
        ended = [ItemOutcome(ticket, _CANCELLED, 1, 0.0) for ticket in cancelled]
        ended += [late_outcome(ticket, self._clock()) for ticket in late]
        return ended + (self._run(self._model, rest, halves) if rest else [])


def late_outcome(ticket: RequestTicket, now: float) -> ItemOutcome:
    """Returns the outcome of a ticket that waited for the device until it could no longer meet its deadline."""
    return ItemOutcome(ticket, too_late(ticket, now, "waited for the device"), 0, 0.0)


def log_failure(model: Model, tickets: Sequence[RequestTicket], error: BaseException) -> str:
    """Logs a run that raised; returns its log reference."""
    reference = uuid.uuid4().hex[:12]
    logger.error("model %s failed on a batch of %d [%s]", full_name(model), len(tickets), reference, exc_info=error)
    return reference


def full_name(model: Model) -> str:
    """Returns `name/version`."""
    return f"{model.manifest.name}/{model.manifest.version}"
