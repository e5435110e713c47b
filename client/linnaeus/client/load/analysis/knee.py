"""Finds the knee of a ramp, between the highest rate that was served and the lowest that was not."""

from collections.abc import Sequence
from dataclasses import dataclass

from linnaeus.client.load.measurement.served import is_served_in_full
from linnaeus.client.load.results import Measurement


@dataclass(frozen=True, slots=True)
class Knee:
    """Where a ramp's server stopped keeping up, in calls a second.

    Attributes:
        served: the highest rate that was served in full, as were all lower ones; None if even the lowest was not.
        not_served: the next rate, which was not; None if all were.
        estimate: the rate between the two at which it probably lies: what the server answered at `not_served`. None if
            that is not between them, as where a server answers less the more it is asked.
    """

    served: float | None = None
    not_served: float | None = None
    estimate: float | None = None


def find_knee(measurements: Sequence[Measurement]) -> Knee:
    """Returns the knee of a ramp; see `served` for what counts as served.

    Args:
        measurements: in an open loop, in any order.
    """
    served = None
    for measurement in sorted(measurements, key=_rate):
        if not is_served_in_full(measurement):
            return _knee_below(measurement, served)
        served = measurement.rate
    return Knee(served)


def _knee_below(measurement: Measurement, served: float | None) -> Knee:
    if measurement.interrupted:
        return Knee(served)
    answered = None if measurement.queue is None else measurement.queue.answered_per_second
    is_between = answered is not None and served is not None and served < answered < _rate(measurement)
    return Knee(served, measurement.rate, answered if is_between else None)


def _rate(measurement: Measurement) -> float:
    return measurement.rate or 0.0
