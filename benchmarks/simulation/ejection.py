"""Outlier ejection as Envoy does it: a replica that fails so many times in a row is left out for a while."""

from dataclasses import dataclass

from benchmarks.simulation.balancing import Policy
from benchmarks.simulation.events import Events


@dataclass(frozen=True, slots=True)
class Ejection:
    """Envoy's `consecutive_5xx`, with its defaults.

    Attributes:
        consecutive_failures: after which a replica is ejected.
        seconds: how long it is left out.
        most_share: of all replicas, ejected at a time; one may always be.
        counts_refusals: whether a refusal is a failure. Envoy counts DEADLINE_EXCEEDED as the 504 that it maps it to.
    """

    consecutive_failures: int = 5
    seconds: float = 30.0
    most_share: float = 0.1
    counts_refusals: bool = True


class Outliers:
    """The failures in a row of each replica, as one balancer sees them."""

    def __init__(self, events: Events, ejection: Ejection, policy: Policy, replicas: int) -> None:
        self._events = events
        self._ejection = ejection
        self._policy = policy
        self._in_a_row = [0] * replicas
        self._most = min(max(int(ejection.most_share * replicas), 1), replicas - 1)
        self._ejected: set[int] = set()

    def observe(self, replica: int, *, failed: bool, refused: bool) -> None:
        """Counts an answer, a failure or a refusal; ejects the replica if that was one too many."""
        is_failure = failed or (refused and self._ejection.counts_refusals)
        self._in_a_row[replica] = self._in_a_row[replica] + 1 if is_failure else 0
        if self._in_a_row[replica] < self._ejection.consecutive_failures or replica in self._ejected:
            return
        if len(self._ejected) < self._most:
            self._ejected.add(replica)
            self._policy.eject(replica)
            self._events.at(self._events.now + self._ejection.seconds, self._restore, replica)

    def _restore(self, replica: int) -> None:
        self._ejected.discard(replica)
        self._in_a_row[replica] = 0
        self._policy.restore(replica)
