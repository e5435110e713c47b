"""The arrival process of an open loop: the times at which calls are to be sent.

Reads no clock: the same plan gives the same times.
"""

import random
from collections.abc import Iterator
from itertools import count

from linnaeus.client.load.plan import Plan


def arrival_times(plan: Plan, index: int, processes: int) -> Iterator[float]:
    """Yields the times at which generator process `index` of `processes` is to send, in ascending order.

    With Poisson arrivals, each process has an independent Poisson process; together they are one with the plan's rate.
    With constant arrivals, the processes serve one even schedule in turn.

    Yields:
        Seconds from the start of the measurement, from -warmup_seconds up to but not including duration_seconds.
    """
    rate = (plan.rate or 0.0) / plan.images_per_call
    if plan.arrivals == "poisson":
        times = _poisson(rate / processes, -plan.warmup_seconds, random.Random(f"{plan.seed} arrivals {index}"))
    else:
        times = (step / rate - plan.warmup_seconds for step in count(index, processes))
    for time in times:
        if time >= plan.duration_seconds:
            return
        yield time


def _poisson(rate: float, start: float, rng: random.Random) -> Iterator[float]:
    time = start
    while True:
        time += rng.expovariate(rate)
        yield time
