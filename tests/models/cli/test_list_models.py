"""`linnaeus-zoo list`."""

from typing import Any

import pytest

from linnaeus.models.registry import ZOO


def test_list_has_parameters_input_and_weights(listed: dict[str, dict[str, Any]]) -> None:
    assert listed["lenet"]["parameters"] == 431_080
    assert listed["lenet5"]["weights"] == ["bundled", "random", "FILE"]
    assert listed["efficientnet_lite0"]["input"] == "3x224x224"
    assert listed["resnet18"]["weights"] == ["DEFAULT", "random", "FILE"]


@pytest.mark.slow
def test_the_list_fits_a_terminal_of_80_columns(table: str) -> None:
    lines = table.splitlines()
    assert len(lines) > 40 and max(map(len, lines)) <= 80
    assert all("…" not in line for line in lines)
    assert any("inception_densenet121" in line and "4,760,296" in line for line in lines)


@pytest.mark.slow
def test_list_shows_every_name_with_its_available_weights(listed: dict[str, dict[str, Any]], table: str) -> None:
    assert listed.keys() == ZOO.keys()
    assert listed["lenet"] == {
        "name": "lenet",
        "family": "LeNet",
        "year": 1998,
        "input": "1x28x28",
        "classes": 10,
        "parameters": 431_080,
        "weights": ["bundled", "random", "FILE"],
    }
    assert all(name in table for name in ZOO) and "4,652,008" in table
