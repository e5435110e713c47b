"""Finds the knee of a ramp."""

from collections.abc import Sequence

from linnaeus.client.load.results import Measurement

SERVED_IN_FULL = 0.98


def find_knee(measurements: Sequence[Measurement]) -> float | None:
    """Returns the knee of a ramp: the highest rate that was served in full, as were all lower ones.

    A rate is served in full if at least 98 % of the calls were ok: in time and with the expected answer. Calls that the
    load tester itself cancelled or corrupted do not count. A measurement that was interrupted, or in which nothing was
    sent, proves nothing, nor do those at higher rates.

    Args:
        measurements: in an open loop, in any order.

    Returns:
        Calls a second; None if even the lowest rate was not served in full.
    """
    knee = None
    for measurement in sorted(measurements, key=_rate):
        if measurement.interrupted or not is_served_in_full(measurement):
            return knee
        knee = measurement.rate
    return knee


def is_served_in_full(measurement: Measurement) -> bool:
    """Returns whether at least 98 % of the calls were ok."""
    counts = measurement.counts
    expected = counts.sent - counts.cancelled - counts.corrupt
    return expected > 0 and counts.ok >= SERVED_IN_FULL * expected


def _rate(measurement: Measurement) -> float:
    return measurement.rate or 0.0
