"""One simulated measurement: a fleet under a load for some seconds, and what its callers got."""

import random
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.common.report import percentile
from benchmarks.simulation.arrivals import bursts, poisson
from benchmarks.simulation.calls import ANSWERED, Call
from benchmarks.simulation.events import Events
from benchmarks.simulation.fleet import Fleet, FleetPlan
from benchmarks.simulation.replica import Machine

ARRIVALS: dict[str, Callable[[random.Random, float, float, float], Iterator[float]]] = {
    "poisson": poisson,
    "bursts": bursts,
}
# C is what so many callers get in a closed loop, as in docs/benchmarks.md.
CALLERS = 64
_CAPACITY_SECONDS, _CAPACITY_WARM_UP_SECONDS = 8.0, 2.0


@dataclass(frozen=True)
class Load:
    """What is sent to a fleet.

    Attributes:
        rate: calls a second.
        seconds, warm_up_seconds: how long is measured, and sent before that.
        arrivals: of `ARRIVALS`.
        seed: of all randomness.
    """

    rate: float
    seconds: float
    warm_up_seconds: float = 1.0
    arrivals: str = "poisson"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Measured:
    """What callers got in the measured seconds: calls count when they end, so that no queue that still grows counts.

    Attributes:
        ended, in_time: calls.
        outcomes: calls by outcome; those that were answered late are among the answered ones.
        p50, p99: seconds from sending to the answer, of those in time; None if there was none.
        goodput: calls a second that were answered in time.
    """

    ended: int
    in_time: int
    outcomes: Counter[str]
    p50: float | None
    p99: float | None
    goodput: float

    @property
    def late(self) -> int:
        """Calls that were admitted, and not answered in time."""
        return self.outcomes["expired"] + self.outcomes["dropped"] + self.outcomes[ANSWERED] - self.in_time

    @property
    def refused(self) -> int:
        """Calls that were refused, or not taken by a dead replica."""
        return self.ended - self.in_time - self.late


def measure(plan: FleetPlan, load: Load) -> Measured:
    """Simulates a fleet under a load."""
    events, chance = Events(), random.Random(load.seed)
    outcomes, seconds = Counter[str](), array("d")
    end = load.warm_up_seconds + load.seconds

    def count(call: Call) -> None:
        if call.ended_at >= load.warm_up_seconds:
            outcomes[call.outcome] += 1
            if call.in_time:
                seconds.append(call.ended_at - call.sent_at)

    fleet = Fleet(events, plan, chance, count)
    fleet.send(ARRIVALS[load.arrivals](chance, load.rate, 0.0, end))
    events.run(until=end)
    p50, p99 = percentile(seconds, 0.5), percentile(seconds, 0.99)
    return Measured(outcomes.total(), len(seconds), outcomes, p50, p99, len(seconds) / load.seconds)


def capacity(machine: Machine, callers: int = CALLERS) -> float:
    """Returns C of one replica: the images a second that so many callers get in a closed loop without deadlines."""
    events, ended = Events(), array("d")

    def again(call: Call) -> None:
        ended.append(call.ended_at)
        fleet.call()

    plan = FleetPlan(machine, replicas=1, deadline_seconds=None)
    fleet = Fleet(events, plan, random.Random(1), again)
    for _ in range(callers):
        fleet.call()
    events.run(_CAPACITY_WARM_UP_SECONDS + _CAPACITY_SECONDS)
    return sum(moment >= _CAPACITY_WARM_UP_SECONDS for moment in ended) / _CAPACITY_SECONDS
