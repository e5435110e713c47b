"""When a refused request is sent again, and how many retries one client may make. Makes no call and does not wait.

Only a refusal that says when to come back is followed by a retry: the server sends `grpc-retry-pushback-ms` and
RetryInfo with each of its own. RESOURCE_EXHAUSTED without them comes from gRPC or a proxy, for a message or metadata
that is too large, and would only be refused again. `retry_policy` has the retries that gRPC makes.
"""

import math
import random
import threading
from collections.abc import Callable

from linnaeus.client.transport.deadlines import Deadline

# As often as gRPC itself sends a call: see `retry_policy`.
MAX_SENDS = 4
# As many as gRPC's own throttling allows: the requests of 500 callers that are refused together are all sent again.
_MAX_TOKENS = 500.0
_TOKENS_PER_SUCCESS = 0.1
# Callers that were refused together and told the same wait do not come back together.
_MAX_JITTER = 1.25


# Of a stream that was lost before it had an answer: the backoff of `retry_policy`, with gRPC's jitter.
_INITIAL_BACKOFF_SECONDS = 0.1
_MAX_BACKOFF_SECONDS = 1.0


def backoff_seconds(failures: int) -> float:
    """Returns the wait after so many failures in a row; 0 after none."""
    if not failures:
        return 0.0
    return min(math.ldexp(_INITIAL_BACKOFF_SECONDS, failures - 1), _MAX_BACKOFF_SECONDS) * random.uniform(0.8, 1.2)


class RetryBudget:
    """The retries of one client after refusals. Any thread may use it.

    Invariants:
        - a request is sent at most `MAX_SENDS` times, and never before the server's wait is over;
        - all retries together are at most 500 more than a tenth of the answers.

    Args:
        jitter: returns a number from 1 to 1.25, by which a wait is multiplied.
    """

    def __init__(self, jitter: Callable[[], float] = lambda: random.uniform(1.0, _MAX_JITTER)) -> None:
        self._jitter = jitter
        self._lock = threading.Lock()
        self._tokens = _MAX_TOKENS

    def record_answer(self) -> None:
        """Counts an answer, which pays for a tenth of a retry."""
        with self._lock:
            self._tokens = min(self._tokens + _TOKENS_PER_SUCCESS, _MAX_TOKENS)

    def delay_seconds(self, wait_seconds: float | None, *, sends: int, deadline: Deadline) -> float | None:
        """Takes a retry from the budget.

        Args:
            wait_seconds: the wait that the server asked for; None if it must not be sent again.
            sends: how often the request was sent.
            deadline: of the request.

        Returns:
            The seconds from now until the request is sent again. None if it is not: the deadline comes first, it was
            sent often enough, or the budget is spent.
        """
        if wait_seconds is None or sends >= MAX_SENDS:
            return None
        delay_seconds = wait_seconds * self._jitter()
        return delay_seconds if delay_seconds < deadline.remaining_seconds and self._take() else None

    def _take(self) -> bool:
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
