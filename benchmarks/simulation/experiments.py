"""The simulated measurements of `make bench-replicas`: which fleets, under which loads, for how long."""

import gc
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from math import ceil

from benchmarks.simulation.costs import Costs
from benchmarks.simulation.ejection import Ejection
from benchmarks.simulation.fleet import FleetPlan
from benchmarks.simulation.measurement import Load, Measured, measure

LOADS = (0.5, 0.8, 1.0, 1.5, 2.0, 3.0)
REPLICAS = (1, 10, 100, 1000)
SLOW_SHARE = 0.01
ALL_WELL = "all well"
# A balancer for so many replicas; each sees only its own requests in flight.
REPLICAS_OF_A_BALANCER = 10
# Of the comparisons of policies and remedies.
COMPARED_REPLICAS = 50
COMPARED_LOADS = (0.8, 1.5)
# Simulated seconds that are measured: many replicas need few, since they are averaged over.
_SECONDS = {1: 20.0, 10: 6.0, 20: 1.0, 1000: 0.1}
# And before that. Under overload queues take their time to be as long as the deadlines allow.
_WARM_UP_SECONDS, _WARM_UP_SECONDS_OF_OVERLOAD = 0.5, 1.0
_SECONDS_OF_UPS_AND_DOWNS = (1.0, 4.0)


def seconds_of(replicas: int, load: float) -> tuple[float, float]:
    """Returns for how long a load is sent before it is measured, and while it is."""
    warm_up = _WARM_UP_SECONDS_OF_OVERLOAD if load > 1.0 else _WARM_UP_SECONDS
    return warm_up, _SECONDS[max((each for each in _SECONDS if each <= replicas), default=1)]


@dataclass(frozen=True)
class Point:
    """One measurement: the plan, and the load in capacities of its replicas if none were slow."""

    name: str
    plan: FleetPlan
    load: float
    arrivals: str = "poisson"
    seconds: tuple[float, float] | None = None
    seed: int = 1

    def measured(self, capacity: float) -> Measured:
        """Runs it; `capacity` is that of one replica."""
        warm_up, seconds = self.sent_seconds
        rate = self.load * self.plan.replicas * capacity
        return measure(self.plan, Load(rate, seconds, warm_up, self.arrivals, self.seed))

    def for_seconds(self, seconds: float) -> "Point":
        """Returns the same, measured for so many seconds."""
        return replace(self, seconds=(self.sent_seconds[0], seconds))

    @property
    def sent_seconds(self) -> tuple[float, float]:
        """For how long it is sent before it is measured, and while it is."""
        return self.seconds or seconds_of(self.plan.replicas, self.load)

    @property
    def calls(self) -> float:
        """How many calls it sends, relative to others."""
        return sum(self.sent_seconds) * self.load * self.plan.replicas


def fleet(costs: Costs, replicas: int, network_seconds: float) -> FleetPlan:
    """Returns a healthy fleet behind least request with two choices."""
    balancers = ceil(replicas / REPLICAS_OF_A_BALANCER)
    return FleetPlan(costs.machine, replicas, balancers=balancers, network_seconds=network_seconds)


def with_slow(plan: FleetPlan) -> FleetPlan:
    """Returns the fleet with one replica in a hundred slow, and at least one."""
    return replace(plan, slow=ceil(SLOW_SHARE * plan.replicas))


def sizes(base: FleetPlan, replicas: Iterable[int] = REPLICAS, loads: Iterable[float] = LOADS) -> list[Point]:
    """Returns every size at every load, with and without slow replicas."""
    loads, points = tuple(loads), list[Point]()
    for number in replicas:
        healthy = replace(base, replicas=number, balancers=ceil(number / REPLICAS_OF_A_BALANCER))
        slow = with_slow(healthy)
        plans = {ALL_WELL: healthy} if number == 1 else {ALL_WELL: healthy, f"{slow.slow} slow": slow}
        points += [Point(name, plan, load) for name, plan in plans.items() for load in loads]
    return points


def policies(base: FleetPlan, names: Iterable[str], loads: Iterable[float] = COMPARED_LOADS) -> list[Point]:
    """Returns each policy beside a slow replica and beside a dead one, without ejection.

    Under overload the least of all goes up and down with the queue of the replica that gets the excess.
    """
    return [
        Point(
            f"{name}, {fault}",
            replace(base, policy=name, **{fault: 1}),  # type: ignore[arg-type]
            load,
            seconds=_SECONDS_OF_UPS_AND_DOWNS if load > 1.0 else None,
        )
        for name in names
        for fault in ("slow", "dead")
        for load in loads
    ]


REMEDIES: dict[str, dict[str, object]] = {
    "none": {"client_retries": False},
    "the client's retries": {},
    "one retry by the balancer": {"balancer_retries": True},
    "ejection of failures": {"ejection": Ejection(counts_refusals=False)},
    "ejection of refusals too": {"ejection": Ejection()},
    "retry and ejection of failures": {"balancer_retries": True, "ejection": Ejection(counts_refusals=False)},
}


def remedies(base: FleetPlan, loads: Iterable[float] = COMPARED_LOADS) -> list[Point]:
    """Returns each remedy beside a slow replica and beside a dead one."""
    return [
        Point(f"{fault}: {name}", replace(base, **{fault: 1}, **changes), load)  # type: ignore[arg-type]
        for fault in ("slow", "dead")
        for name, changes in REMEDIES.items()
        for load in loads
    ]


def circumstances(base: FleetPlan) -> list[Point]:
    """Returns shorter deadlines, bursts, more and fewer balancers, and another length of the simulation."""
    short, slow = replace(base, deadline_seconds=0.1), with_slow(base)
    points = [Point("deadline 100 ms", short, load) for load in COMPARED_LOADS]
    points += [Point("bursts", base, load, "bursts", (1.0, 5.0)) for load in COMPARED_LOADS]
    for balancers in (1, base.replicas):
        plan = replace(slow, balancers=balancers)
        points += [Point(f"{balancers} balancers, 1 slow", plan, load) for load in COMPARED_LOADS]
    for seconds in ((1.0, 0.1), (1.0, 5.0)):
        name = f"{seconds[1]:g} s after {seconds[0]:g} s, 1 slow"
        points += [Point(name, slow, load, seconds=seconds) for load in COMPARED_LOADS]
    return points


def run(points: Sequence[Point], capacity: float, processes: int) -> list[Measured]:
    """Runs the points on so many processes; returns the results in their order."""
    order = sorted(range(len(points)), key=lambda number: -points[number].calls)
    with ProcessPoolExecutor(processes, initializer=_start) as pool:
        running = {number: pool.submit(points[number].measured, capacity) for number in order}
        return [running[number].result() for number in range(len(points))]


def _start() -> None:
    """Prepares a process: what a simulation makes has no cycles once a call has ended."""
    gc.disable()
