"""Processes that do not respond are found by the questions that they leave unanswered, and killed after many."""

from collections import Counter
from typing import Any

import pytest

from linnaeus.server.app.process_watch import HUNG_TICKS, SILENT_TICKS, ProcessWatch


class Process:
    """A process that responds, or not, to what the watch asks."""

    def __init__(self, watch: ProcessWatch, name: str) -> None:
        self.responds = True
        self.deaths = 0
        self._watch, self._name = watch, name
        watch.begin(name, self._asked, self._killed)

    def _asked(self) -> None:
        if self.responds:
            self._watch.responded(self._name)

    def _killed(self) -> None:
        self.deaths += 1


@pytest.fixture
def changes() -> Counter[str]:
    return Counter()


@pytest.fixture
async def watch(changes: Counter[str]) -> ProcessWatch:
    return ProcessWatch(lambda: changes.update(["readiness"]))


def ticks(watch: ProcessWatch, count: int) -> None:
    for _ in range(count):
        watch.tick()


def test_a_process_that_responds_is_never_killed(watch: ProcessWatch, changes: Any) -> None:
    process = Process(watch, "engine")
    ticks(watch, 10 * HUNG_TICKS)
    assert not process.deaths and not watch.silent and not changes


def test_a_silent_process_is_reported_within_seconds_and_killed_once_after_half_a_minute(
    watch: ProcessWatch, changes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    hung, other = Process(watch, "engine"), Process(watch, "front end 1")
    hung.responds = False
    ticks(watch, SILENT_TICKS - 1)
    assert not watch.silent
    ticks(watch, 1)
    assert list(watch.silent) == ["engine"] and changes["readiness"] == 1
    ticks(watch, HUNG_TICKS - SILENT_TICKS - 1)
    assert not hung.deaths
    ticks(watch, 10)
    assert hung.deaths == 1 and not other.deaths
    assert "the engine has not responded for 120 s: it is killed" in caplog.text


def test_a_process_that_responds_again_is_reported_and_lives(watch: ProcessWatch, changes: Any) -> None:
    process = Process(watch, "engine")
    process.responds = False
    ticks(watch, HUNG_TICKS - 1)
    process.responds = True
    watch.responded("engine")  # to what it was asked last
    ticks(watch, HUNG_TICKS)
    assert not process.deaths and not watch.silent and changes["readiness"] == 2


def test_a_process_that_has_ended_and_all_of_them_after_the_close_are_left_alone(watch: ProcessWatch) -> None:
    ended, running = Process(watch, "engine"), Process(watch, "front end 1")
    ended.responds = running.responds = False
    watch.end("engine")
    watch.start()
    watch.close()
    ticks(watch, 2 * HUNG_TICKS)
    assert not ended.deaths and not running.deaths
