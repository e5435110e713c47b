"""When calls of an open loop are meant to be sent.

It must not know what a call is, nor read a clock: the same plan gives the same moments.
"""

import random
from collections.abc import Iterator
from itertools import count

from linnaeus.client.load.plan import Plan


def intended_moments(plan: Plan, index: int, processes: int) -> Iterator[float]:
    """The moments at which process `index` of `processes` is meant to send, rising.

    Poisson arrivals are one independent Poisson process each: together they are one of the plan's whole rate. Constant
    arrivals are one even schedule that the processes serve in turn.

    Yields:
        Seconds from the start of measuring, from -warmup_seconds up to duration_seconds, the latter excluded.
    """
    rate = (plan.rate or 0.0) / plan.images_per_call
    if plan.arrivals == "poisson":
        moments = _poisson(rate / processes, -plan.warmup_seconds, random.Random(f"{plan.seed} arrivals {index}"))
    else:
        moments = (step / rate - plan.warmup_seconds for step in count(index, processes))
    for moment in moments:
        if moment >= plan.duration_seconds:
            return
        yield moment


def _poisson(rate: float, start: float, chance: random.Random) -> Iterator[float]:
    moment = start
    while True:
        moment += chance.expovariate(rate)
        yield moment
