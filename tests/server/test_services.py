"""What the server tells busy callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.server.app.services import connections_of_a_busy_caller


@pytest.mark.parametrize(("front_ends", "connections"), [(0, 1), (1, 1), (2, 8), (4, 16), (8, 32), (256, 32)])
def test_a_busy_caller_is_told_four_connections_for_each_front_end_and_at_most_32(front_ends, connections):
    assert connections_of_a_busy_caller(front_ends) == connections


@given(st.integers(2, 8))
def test_that_seldom_leaves_a_front_end_without_a_connection(front_ends):
    one_is_left_out = (1 - 1 / front_ends) ** connections_of_a_busy_caller(front_ends)
    assert one_is_left_out < 0.02
