"""Whether the tester, not the server, was the limit of a spell.

It must not know how the figures were taken.
"""

from collections.abc import Sequence

from linnaeus.client.load.generator.records import Finished
from linnaeus.client.load.measurement.statistics import Tally
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import TesterView

LEAST_LAG_SECONDS = 0.010
LAG_SHARE_OF_P50 = 0.10
SENT_SHARE = 0.98
BUSY_SHARE = 0.90
_ADVICE = "more --processes or another machine may help"


def tester_view(plan: Plan, finished: Sequence[Finished], tally: Tally) -> TesterView:
    """What the tester knows of itself.

    In an open loop it was the limit if the 99th percentile of the send lag is above the larger of 10 ms and a tenth of
    the median latency, or if less than 98 % of what was intended was sent; in a closed loop if a process ran or waited
    for a core for more than 90 % of the time.
    """
    busy = max((each.busy for each in finished), default=0.0)
    if plan.rate is None:
        return _view(busy, 0.0, _too_busy(busy))
    lag = tally.lags.at_percentile(99)
    reason = _not_all_sent(finished, tally) or _too_late(lag, tally, any(each.full for each in finished))
    return _view(busy, lag, reason)


def _view(busy: float, lag_seconds: float, reason: str) -> TesterView:
    return TesterView(busy=busy, send_lag_p99=lag_seconds, was_the_limit=bool(reason), reason=reason)


def _too_busy(busy: float) -> str:
    if busy <= BUSY_SHARE:
        return ""
    return f"a process of the tester ran or waited for a core for {busy:.0%} of the time: {_ADVICE}"


def _not_all_sent(finished: Sequence[Finished], tally: Tally) -> str:
    sent, left = len(tally.lags), sum(each.not_sent for each in finished)
    if not left or sent >= SENT_SHARE * (sent + left):
        return ""
    share = f"only {sent / (sent + left):.1%} of the intended calls could be sent in time"
    return f"{share}: {_remedy(any(each.full for each in finished))}"


def _too_late(lag_seconds: float, tally: Tally, full: bool) -> str:
    if lag_seconds <= max(LEAST_LAG_SECONDS, LAG_SHARE_OF_P50 * tally.latencies.at_percentile(50)):
        return ""
    return f"1 % of the calls left {lag_seconds * 1e3:.0f} ms or more later than intended: {_remedy(full)}"


def _remedy(full: bool) -> str:
    if full:
        return "as many calls as --max-in-flight allows were waiting for answers, and a higher limit would send more"
    return _ADVICE
