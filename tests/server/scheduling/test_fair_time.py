"""Device time is shared by weights. An image takes a tenth of a second."""

from collections.abc import Callable

import pytest
from builders import new_lane
from state_harness import Harness

from linnaeus.server.scheduling import Priority

HIGH, NORMAL, LOW = Priority


def test_device_time_is_charged_to_those_that_rode_by_their_weights() -> None:
    harness = Harness(new_lane(priority_weights=(4.0, 2.0, 1.0)))
    for priority in (HIGH, HIGH, NORMAL, LOW):
        harness.admit(priority=priority)
    harness.serve(0.0, seconds=0.8)
    assert [flow.used for flow in harness.lanes[0].flows] == pytest.approx([0.4 / 4, 0.2 / 2, 0.2 / 1])


def turns(harness: Harness, start: float, lanes: Callable[[int], tuple[int, ...]], count: int) -> list[str]:
    """Keeps `lanes(turn)` saturated, one image a run of a tenth of a second; returns whose turn it was."""
    order, now = [], start
    for turn in range(count):
        for lane in lanes(turn):
            while harness.lanes[lane].depth < 4:
                harness.admit(lane=lane, now=now)
        order.append(harness.serve(now, 0.1))
        now += 0.1
    return order


def test_two_saturated_models_take_turns() -> None:
    harness = Harness(new_lane("a", size=1), new_lane("b", size=1))
    order = turns(harness, 0.0, lambda turn: (0, 1), 40)
    assert order.count("a") == pytest.approx(20, abs=2)


def test_a_model_with_three_times_the_weight_gets_three_quarters() -> None:
    harness = Harness(new_lane("a", size=1, weight=3.0), new_lane("b", size=1))
    order = turns(harness, 0.0, lambda turn: (0, 1), 80)
    assert order.count("a") == pytest.approx(60, abs=4)


def test_a_quiet_model_saves_nothing_up() -> None:
    harness = Harness(new_lane("a", size=1), new_lane("b", size=1))
    order = turns(harness, 0.0, lambda turn: (0,) if turn < 100 else (0, 1), 120)
    assert order[100:].count("a") == pytest.approx(10, abs=3)


def test_a_model_that_had_the_device_to_itself_owes_nothing_when_it_comes_back() -> None:
    harness = Harness(new_lane("a", size=1), new_lane("b", size=1))
    desk_alone = turns(harness, 0.0, lambda turn: (0,), 100)
    assert set(desk_alone) == {"a"}
    now = 10.0
    while not harness.state.is_idle:
        harness.serve(now, 0.1)
        now += 0.1
    assert set(turns(harness, now, lambda turn: (1,), 5)) == {"b"}
    order = turns(harness, now + 0.5, lambda turn: (0, 1), 40)
    assert order.count("a") == pytest.approx(20, abs=6)
