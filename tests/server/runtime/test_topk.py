"""Top-k on the host and on a device, for few classes, which are sorted, and for many, of which the best are found."""

import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.server.runtime.topk import device_top_k, top_k

VALUES = st.sampled_from([0.0, 0.125, 0.25, 0.5])


def rows_of(classes: int) -> st.SearchStrategy[list[list[float]]]:
    """Rows in which most values are equal to others."""
    return st.lists(st.lists(VALUES, min_size=classes, max_size=classes), min_size=1, max_size=3)


@pytest.mark.parametrize("classes", [6, 129])
@given(data=st.data())
@settings(deadline=None, max_examples=50)
def test_equal_probabilities_are_ordered_by_lower_index_also_across_the_kth_place(
    classes: int, data: st.DataObject
) -> None:
    rows, k = data.draw(rows_of(classes)), data.draw(st.integers(1, classes))
    values, indices = top_k(numpy.array(rows, numpy.float32), k)
    device_values, device_indices = device_top_k(torch.tensor(rows), k)
    for place, row in enumerate(rows):
        expected = sorted(range(classes), key=lambda index: (-row[index], index))[:k]
        assert indices[place] == device_indices[place].tolist() == expected
        assert values[place] == device_values[place].tolist() == [row[index] for index in expected]


@pytest.mark.parametrize("classes", [6, 129, 1000])
@pytest.mark.parametrize("k", [1, 5])
def test_what_is_no_number_comes_first_so_that_nobody_takes_it_for_an_answer(classes: int, k: int) -> None:
    row = numpy.linspace(0.0, 1.0, classes, dtype=numpy.float32)
    row[3] = math.nan
    values, indices = top_k(numpy.stack([row, row[::-1]]), k)
    assert [each[0] for each in indices] == [3, classes - 4]
    assert all(math.isnan(each[0]) for each in values)
