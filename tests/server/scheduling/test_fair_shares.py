"""Max-min fair shares: nobody has more than it wants, and what is left goes to those who want more."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.scheduling.fair_shares import Demand, FairShares

SECONDS = st.floats(0.0, 10.0)
DEMANDS = st.lists(
    st.builds(
        lambda used, waits, weight: Demand(used, used + waits, weight),
        SECONDS,
        SECONDS,
        st.sampled_from([0.1, 1.0, 10.0]),
    ),
    max_size=20,
)


def shared_out(demands: list[Demand]) -> FairShares:
    shares = FairShares()
    shares.share_out(demands)
    return shares


def share_of(shares: FairShares, weight: float) -> float:
    """Returns the most that a caller may want without being above its share, less the tolerance, by bisection."""
    low, high = 0.0, 1000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if shares.excess_seconds(middle + 0.05, weight, 1.0) > 0.0 else (middle, high)
    return low


@given(DEMANDS, st.sampled_from([0.1, 1.0, 10.0]))
def test_all_callers_and_one_more_that_wants_all_would_have_used_as_much(demands: list[Demand], weight: float) -> None:
    shares = shared_out(demands)
    share = share_of(shares, weight)
    had = sum(min(demand.wanted, share * demand.weight / weight) for demand in demands)
    assert had + share == pytest.approx(sum(demand.used for demand in demands), abs=1e-6)


@given(st.integers(1, 30), st.floats(0.06, 10.0))
def test_of_callers_that_are_alike_each_has_the_share_that_one_more_would_leave_it(callers: int, used: float) -> None:
    shares = shared_out([Demand(used, used, 1.0)] * callers)
    assert share_of(shares, 1.0) == pytest.approx(used * callers / (callers + 1))


def test_where_nothing_was_used_what_a_caller_wants_above_the_tolerance_is_its_excess() -> None:
    assert shared_out([]).excess_seconds(0.75, 1.0, 1.0) == pytest.approx(0.7)
    assert shared_out([]).excess_seconds(0.04, 1.0, 1.0) == 0.0
