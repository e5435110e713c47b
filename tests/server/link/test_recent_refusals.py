"""What a front end refuses by itself, after the core has refused another request."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.server.engine.engine_fakes import digit
from tests.server.engine.linked_engine import LinkedEngine

from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import DeadlineExceeded
from linnaeus.server.link.recent_refusals import RecentRefusals
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.scheduling import DecodeWork, Priority

NOW = 100.0
LANES = st.sampled_from([LaneKey("a", 1, 1), LaneKey("a", 2, 2), LaneKey("b", 1, 3)])
WORKS = st.none() | st.builds(DecodeWork, st.sampled_from(["jpeg", "png"]), st.sampled_from([10, 1000, 100_000]))
CALLERS = st.sampled_from(["", "x", "y"])
REQUESTS = st.tuples(LANES, st.floats(NOW, NOW + 10.0), st.sampled_from(Priority), WORKS, CALLERS)


@given(REQUESTS, st.floats(0.0, 20.0), REQUESTS, st.floats(0.0, 0.1))
def test_only_what_asks_for_no_less_than_a_recent_refusal_is_refused(
    refused: Any, wait_seconds: float, asked: Any, later: float
) -> None:
    refusals = RecentRefusals()
    refusals.note(*refused, DeadlineExceeded("too late", 1.0, wait_seconds), NOW)
    lane, deadline, priority, work, caller = asked
    old_lane, old_deadline, old_priority, old_work, old_caller = refused
    alike = (lane, priority, caller) == (old_lane, old_priority, old_caller)
    if work is None or old_work is None:
        no_less = work is old_work
    else:
        no_less = work.kind == old_work.kind and work.pixels >= old_work.pixels
    hopeless = alike and no_less and later < 0.02 and old_deadline <= deadline < NOW + wait_seconds
    assert is_refused(lambda: refusals.check(*asked, NOW + later)) == hopeless
    assert not is_refused(lambda: refusals.check(lane, None, priority, work, caller, NOW + later))


def test_a_refusal_says_when_the_answer_is_expected() -> None:
    refusals, work = RecentRefusals(), DecodeWork("jpeg", 1000)
    refusals.note(LaneKey("a", 1, 1), NOW + 1.0, Priority.NORMAL, work, "", DeadlineExceeded("", 1.0, 5.0), NOW)
    with pytest.raises(DeadlineExceeded, match="answer in 4.990 s, but the deadline is in 1.990 s") as error:
        refusals.check(LaneKey("a", 1, 1), NOW + 2.0, Priority.NORMAL, work, "", NOW + 0.01)
    assert error.value.wait_seconds == pytest.approx(4.99) and error.value.late_by_seconds == pytest.approx(3.0)


def test_a_flood_of_callers_takes_bounded_memory() -> None:
    refusals, error = RecentRefusals(), DeadlineExceeded("", 1.0, 5.0)
    for number in range(10_000):
        refusals.note(LaneKey("a", 1, 1), NOW + 1.0, Priority.NORMAL, None, str(number), error, NOW)
    assert len(refusals) <= 1_000


async def test_what_is_hopeless_after_a_refusal_does_not_reach_the_core(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(repository=repository, device="cpu", models="lenet")
    engine = LinkedEngine(settings, observer, clock=lambda: NOW)
    await engine.load()
    asked = list[float]()

    def refuse(lane: Any, payload: Any, deadline: float, *arguments: Any) -> Any:
        asked.append(deadline)
        raise DeadlineExceeded("the core expects the answer too late", 4.0, 5.0)

    monkeypatch.setattr(engine.core, "admit", refuse)
    try:
        for timeout in (1.0, 2.0, 0.5, 1.5, 6.0):
            with pytest.raises(DeadlineExceeded):
                await engine.classify(digit(deadline=NOW + timeout))
    finally:
        await engine.close()
    assert asked == [NOW + 1.0, NOW + 0.5, NOW + 6.0]
    assert [reason for _, reason in observer.rejections] == ["deadline"] * 5


def is_refused(check: Callable[[], None]) -> bool:
    try:
        check()
    except DeadlineExceeded:
        return True
    return False
