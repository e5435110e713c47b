"""Which calls that were not answered are sent again, and when: by the client, or by the balancer."""

import random

from benchmarks.simulation.calls import Call
from benchmarks.simulation.events import Events
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.refusals import MAX_SENDS, RetryBudget, backoff_seconds
from linnaeus.server.scheduling import QueueFull, TooLate

FAILED = "Unavailable"
REFUSALS = frozenset({QueueFull.__name__, TooLate.__name__})
# Envoy's retry budget, with its defaults: so many retries at once of a balancer's requests in flight, and always some.
_BUDGET_SHARE, _ALWAYS_ALLOWED = 0.2, 3
_MAX_JITTER = 1.25


class ClientRetries:
    """The retries of one client of ours, by its own budget (docs/decisions/0027-retries.md).

    A full queue's refusal is followed by a retry after the wait that it names, and a call that was lost by gRPC's
    backoff. A refusal because of the deadline is not: the server names no wait.
    """

    def __init__(self, events: Events, chance: random.Random) -> None:
        self._events = events
        self._chance = chance
        self._budget = RetryBudget(lambda: chance.uniform(1.0, _MAX_JITTER))

    def record_answer(self) -> None:
        """Counts an answer, which pays for a tenth of a retry."""
        self._budget.record_answer()

    def delay_seconds(self, call: Call) -> float | None:
        """Returns the seconds after which a call is sent again; None if it is not."""
        deadline = Deadline(0.0, call.deadline or self._events.now + 30.0, lambda: self._events.now)
        if call.outcome == QueueFull.__name__:
            wait = None if call.wait_seconds is None else max(call.wait_seconds, 0.01)
            return self._budget.delay_seconds(wait, sends=call.sends, deadline=deadline)
        if call.outcome != FAILED or call.sends >= MAX_SENDS:
            return None
        delay = backoff_seconds(call.sends)
        return delay if delay < deadline.remaining_seconds else None


class BalancerRetries:
    """The retries of one balancer: a call that was refused or lost is sent to another replica at once, once."""

    def __init__(self) -> None:
        self._in_flight = 0
        self._retried: set[Call] = set()

    def began(self) -> None:
        """Counts an attempt."""
        self._in_flight += 1

    def ended(self, call: Call) -> bool:
        """Counts the end of an attempt; returns whether the call is sent again at once."""
        self._in_flight -= 1
        if call in self._retried:
            self._retried.remove(call)
            return False
        allowed = max(_BUDGET_SHARE * self._in_flight, _ALWAYS_ALLOWED)
        if not (call.outcome == FAILED or call.outcome in REFUSALS) or len(self._retried) >= allowed:
            return False
        self._retried.add(call)
        return True
