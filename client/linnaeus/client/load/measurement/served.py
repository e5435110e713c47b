"""Whether a rate was served in full, and what it was that fell short."""

from linnaeus.client.load.results import Measurement

SERVED_IN_FULL = 0.98
# A server that refuses calls, or fails, does not serve the rate. One call in a thousand, or a single one, is a mishap.
MAX_REFUSED_SHARE = 0.001


def shortfall(measurement: Measurement) -> str:
    """Returns why the rate was not served in full, such as `104 calls were refused`; empty if it was.

    A rate is served in full if its queue did not grow, hardly a call was refused or failed, and at least 98 % of the
    calls were ok: in time and with the expected answer. Calls that the load tester itself cancelled or corrupted do not
    count. A measurement that was interrupted, or in which nothing was sent, proves nothing.
    """
    counts = measurement.counts
    expected = counts.sent - counts.cancelled - counts.corrupt
    if measurement.interrupted:
        return "it was interrupted"
    if expected <= 0:
        return "nothing was sent"
    for name, calls in (("were refused", counts.refused), ("failed", counts.failed)):
        if calls > max(1.0, MAX_REFUSED_SHARE * expected):
            return f"{calls:,} calls {name}"
    if measurement.queue is not None and measurement.queue.grows:
        return "the queue grew" + (", or the tester fell behind" if measurement.tester.was_the_limit else "")
    missed = expected - counts.ok
    return f"{missed:,} calls were late, wrong or failed" if counts.ok < SERVED_IN_FULL * expected else ""


def is_served_in_full(measurement: Measurement) -> bool:
    """Returns whether the rate was served in full."""
    return not shortfall(measurement)
