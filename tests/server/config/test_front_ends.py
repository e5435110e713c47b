"""The setting `front_ends`: what `auto` stands for."""

import pytest

from linnaeus.server.config.front_ends import automatic_front_ends


@pytest.mark.parametrize(("cores", "front_ends"), [(1, 1), (2, 1), (3, 1), (4, 2), (16, 8), (32, 16), (128, 16)])
def test_half_of_the_cores_have_a_front_end_at_least_one_and_at_most_sixteen(cores: int, front_ends: int) -> None:
    assert automatic_front_ends(cores, has_socket_file=False) == front_ends
    assert automatic_front_ends(cores, has_socket_file=True) == 1
