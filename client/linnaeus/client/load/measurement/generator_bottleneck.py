"""Whether the load tester, not the server, was the bottleneck of a measurement."""

from collections.abc import Sequence

from linnaeus.client.load.generator.process_messages import Finished
from linnaeus.client.load.measurement.statistics import Statistics
from linnaeus.client.load.plan import Plan
from linnaeus.client.load.results import TesterView

MAX_LAG_SECONDS = 0.010
MAX_LAG_SHARE_OF_P50 = 0.10
MIN_SENT_SHARE = 0.98
MAX_BUSY_SHARE = 0.90
_ADVICE = "more --processes or another machine may help"


def load_tester_view(plan: Plan, finished: Sequence[Finished], statistics: Statistics) -> TesterView:
    """Returns what the load tester knows of itself.

    In an open loop it was the bottleneck if the 99th percentile of the send lag exceeds both 10 ms and a tenth of the
    median latency, or if less than 98 % of the scheduled calls were sent; in a closed loop, if a process ran or waited
    for a core for more than 90 % of the time. If most calls failed, it was not: a closed loop of calls that fail at
    once is always busy, and more of them would show nothing.
    """
    busy = max((each.busy for each in finished), default=0.0)
    if _mostly_failed(statistics):
        return _view(busy, 0.0, "")
    if plan.rate is None:
        return _view(busy, 0.0, _busy_reason(busy))
    lag = statistics.lags.at_percentile(99)
    was_full = any(each.full for each in finished)
    reason = _not_sent_reason(finished, statistics, was_full) or _lag_reason(lag, statistics, was_full)
    return _view(busy, lag, reason)


def _view(busy: float, lag_seconds: float, reason: str) -> TesterView:
    return TesterView(busy=busy, send_lag_p99=lag_seconds, was_the_limit=bool(reason), reason=reason)


def _mostly_failed(statistics: Statistics) -> bool:
    counts = statistics.counts()
    return counts.failed > counts.sent / 2


def _busy_reason(busy: float) -> str:
    if busy <= MAX_BUSY_SHARE:
        return ""
    return f"a process of the tester ran or waited for a core for {busy:.0%} of the time: {_ADVICE}"


def _not_sent_reason(finished: Sequence[Finished], statistics: Statistics, was_full: bool) -> str:
    sent, not_sent = len(statistics.lags), sum(each.not_sent for each in finished)
    if not not_sent or sent >= MIN_SENT_SHARE * (sent + not_sent):
        return ""
    share = f"only {sent / (sent + not_sent):.1%} of the intended calls could be sent in time"
    return f"{share}: {_advice(was_full)}"


def _lag_reason(lag_seconds: float, statistics: Statistics, was_full: bool) -> str:
    if lag_seconds <= max(MAX_LAG_SECONDS, MAX_LAG_SHARE_OF_P50 * statistics.latencies.at_percentile(50)):
        return ""
    return f"1 % of the calls left {lag_seconds * 1e3:.0f} ms or more later than intended: {_advice(was_full)}"


def _advice(was_full: bool) -> str:
    if was_full:
        return "as many calls as --max-in-flight allows were waiting for answers, and a higher limit would send more"
    return _ADVICE
