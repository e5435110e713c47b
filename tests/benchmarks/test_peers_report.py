"""The comparison's figures are computed from its measurements as they should be."""

import pytest

from benchmarks.common.h2load import CallTimes
from benchmarks.peers.measurement import steady_state
from benchmarks.peers.report import confidence_interval, ratio


# Of n values, those between the k-th smallest and the k-th largest, from tables of the sign test at 5 %.
@pytest.mark.parametrize(("count", "place"), [(6, 1), (8, 1), (9, 2), (12, 3), (20, 6), (3, 1), (1, 1)])
def test_the_interval_leaves_out_as_many_extremes_as_five_per_cent_allow(count: int, place: int) -> None:
    values = [float(value) for value in range(1, count + 1)]
    assert confidence_interval(values[::-1]) == (place, count + 1 - place)


def test_a_ratio_is_that_of_the_medians_with_the_interval_of_the_rounds() -> None:
    assert ratio([2, 4, 6, 8, 9, 9], [1, 1, 2, 2, 3, 3]) == "3.50 (2.00 to 4.00)"


def test_the_first_calls_do_not_count_and_the_others_are_whole_bursts() -> None:
    # Bursts of three each second; the last one is cut off by the end.
    bursts = [(0, 1), (0, 1), (0, 1), (1, 2), (1, 2), (1.5, 2), (2, 3), (2, 3), (2, 3), (3, 4)]
    steady = steady_state([CallTimes(*each) for each in bursts], 3)
    assert steady.latencies == [0.5, 1, 1, 1, 1, 1]
    assert steady.seconds == 2


def test_too_few_calls_for_a_figure_are_named() -> None:
    with pytest.raises(RuntimeError, match="only 5 calls ended with 3 in flight"):
        steady_state([CallTimes(0, 1)] * 5, 3)
