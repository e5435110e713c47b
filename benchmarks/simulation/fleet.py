"""Many replicas behind load balancers, with a network between them."""

import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from benchmarks.simulation.balancing import POLICIES
from benchmarks.simulation.calls import ANSWERED, DROPPED, Call
from benchmarks.simulation.ejection import Ejection, Outliers
from benchmarks.simulation.events import Events
from benchmarks.simulation.replica import Machine, Replica
from benchmarks.simulation.retries import FAILED, REFUSALS, BalancerRetries, ClientRetries
from linnaeus.server.scheduling import DecodeWork

_PIXELS = 200_000


@dataclass(frozen=True)
class FleetPlan:
    """A fleet, and who calls it.

    Attributes:
        machine: what each replica runs on; it has one model.
        replicas, slow, dead: how many there are, and how many of them are slow, or refuse every connection.
        slowness: how many times longer everything takes on a slow replica, which its warm-up has measured.
        balancers: each call goes through a random one; a balancer is also one client, with one budget of retries.
        policy: how they choose, of `POLICIES`.
        network_seconds: from a balancer to a replica, one way.
        deadline_seconds: of each call; None for none.
        ejection: of replicas that fail; None for none.
        client_retries, balancer_retries: who sends again what was not answered.
    """

    machine: Machine
    replicas: int
    slow: int = 0
    dead: int = 0
    slowness: float = 3.0
    balancers: int = 1
    policy: str = "least of 2"
    network_seconds: float = 0.0
    deadline_seconds: float | None = 0.5
    ejection: Ejection | None = None
    client_retries: bool = True
    balancer_retries: bool = False


class Fleet:
    """The replicas of a plan. Every call ends once, by `on_end`.

    Args:
        events: the simulation's.
        plan: the fleet.
        chance: the source of all randomness.
        on_end: receives each call that has ended, with `outcome` and `ended_at` as its caller sees them.
    """

    def __init__(
        self, events: Events, plan: FleetPlan, chance: random.Random, on_end: Callable[[Call], None] = lambda call: None
    ) -> None:
        self._events = events
        self._plan = plan
        self._chance = chance
        self._on_end = on_end
        (self._model,) = plan.machine.models
        model = plan.machine.models[self._model]
        self._work = DecodeWork(self._model, _PIXELS) if model.decode_seconds else None
        self._decode_seconds = model.decode_seconds
        slow = plan.machine.slower(plan.slowness)
        # The slow ones come first, then the dead ones: which they are makes no difference to any policy.
        self._replicas = [
            Replica(events, slow if number < plan.slow else plan.machine, chance, self._replied)
            for number in range(plan.replicas)
        ]
        self._balancers = [_Balancer(events, plan, chance) for _ in range(plan.balancers)]

    def send(self, at: Iterable[float]) -> None:
        """Sends calls at these moments, which must ascend; the next one is asked for when one was sent."""
        self._send_next(iter(at))

    def call(self) -> None:
        """Sends a call now."""
        now, seconds = self._events.now, self._plan.deadline_seconds
        call = Call(
            self._model,
            now,
            None if seconds is None else now + seconds,
            work=self._work,
            decode_seconds=self._decode_seconds,
            balancer=int(self._chance.random() * len(self._balancers)),
        )
        self._forward(call, -1)

    def _send_next(self, moments: Iterator[float]) -> None:
        if (moment := next(moments, None)) is not None:
            self._events.at(moment, self._arrive, moments)

    def _arrive(self, moments: Iterator[float]) -> None:
        self.call()
        self._send_next(moments)

    def _forward(self, call: Call, other_than: int) -> None:
        call.replica = self._balancers[call.balancer].pick(other_than)
        self._events.at(self._events.now + self._plan.network_seconds, self._reach, call)

    def _reach(self, call: Call) -> None:
        number, plan = call.replica, self._plan
        if plan.slow <= number < plan.slow + plan.dead:
            call.outcome = FAILED
            self._replied(call)
        else:
            # gRPC sends the time that is left, so the server's deadline is later by the way there.
            deadline = None if call.deadline is None else call.deadline + plan.network_seconds
            self._replicas[number].receive(call, deadline)

    def _replied(self, call: Call) -> None:
        self._events.at(self._events.now + self._plan.network_seconds, self._end, call)

    def _end(self, call: Call) -> None:
        balancer = self._balancers[call.balancer]
        if balancer.ended(call):
            return self._again(call, call.replica)
        if call.outcome == ANSWERED:
            balancer.client.record_answer()
        elif self._plan.client_retries and (delay := balancer.client.delay_seconds(call)) is not None:
            return self._events.at(self._events.now + delay, self._again, call, -1)
        call.ended_at, call.ticket = self._events.now, None  # the ticket refers to the call: a cycle
        self._on_end(call)

    def _again(self, call: Call, other_than: int) -> None:
        call.sends += 1
        call.outcome, call.wait_seconds, call.ticket = "", None, None
        self._forward(call, other_than)


class _Balancer:
    """A policy with what a balancer knows of replicas, and the budgets of its retries."""

    def __init__(self, events: Events, plan: FleetPlan, chance: random.Random) -> None:
        self._policy = POLICIES[plan.policy](chance, plan.replicas)
        self._outliers = plan.ejection and Outliers(events, plan.ejection, self._policy, plan.replicas)
        self.client = ClientRetries(events, chance)
        self._retries = BalancerRetries() if plan.balancer_retries else None

    def pick(self, other_than: int) -> int:
        """Returns the replica for a request, and counts the request."""
        replica = self._policy.pick(other_than)
        self._policy.began(replica)
        if self._retries is not None:
            self._retries.began()
        return replica

    def ended(self, call: Call) -> bool:
        """Counts how an attempt ended; returns whether the balancer sends the call again at once."""
        self._policy.ended(call.replica)
        if self._outliers:
            refused = call.outcome in REFUSALS or call.outcome == DROPPED
            self._outliers.observe(call.replica, failed=call.outcome == FAILED, refused=refused)
        return self._retries is not None and self._retries.ended(call)
