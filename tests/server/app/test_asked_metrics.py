"""A front end's question for the metrics of all processes: one at a time, and no caller waits for ever."""

import asyncio

import pytest

from linnaeus.server.app.asked_metrics import AskedMetrics
from linnaeus.server.errors import Unavailable


class Supervisor:
    """Counts the questions, which it does not answer by itself."""

    def __init__(self) -> None:
        self.questions = 0

    def asked(self) -> None:
        self.questions += 1


async def test_callers_share_one_question_and_its_answer() -> None:
    supervisor = Supervisor()
    metrics = AskedMetrics(supervisor.asked)
    waiting = [asyncio.create_task(metrics()) for _ in range(5)]
    await asyncio.sleep(0)
    metrics.answered(b"text")
    assert await asyncio.gather(*waiting) == [b"text"] * 5
    assert supervisor.questions == 1


async def test_the_next_caller_asks_anew() -> None:
    supervisor = Supervisor()
    metrics = AskedMetrics(supervisor.asked)
    for text in (b"first", b"second"):
        waiting = asyncio.create_task(metrics())
        await asyncio.sleep(0)
        metrics.answered(text)
        assert await waiting == text
    assert supervisor.questions == 2


async def test_a_supervisor_that_does_not_respond_is_asked_once() -> None:
    supervisor = Supervisor()
    metrics = AskedMetrics(supervisor.asked, patience_seconds=0.0)
    for _ in range(3):
        with pytest.raises(Unavailable, match="does not respond"):
            await metrics()
    assert supervisor.questions == 1
    metrics.answered(b"late")
    with pytest.raises(Unavailable):
        await metrics()
    assert supervisor.questions == 2, "with the answer the question is closed"


async def test_a_caller_that_leaves_takes_the_answer_from_nobody() -> None:
    metrics = AskedMetrics(Supervisor().asked)
    leaving, staying = asyncio.create_task(metrics()), asyncio.create_task(metrics())
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    metrics.answered(b"text")
    assert await staying == b"text"


async def test_metrics_that_cannot_be_gathered_are_an_error_with_a_time_to_wait() -> None:
    metrics = AskedMetrics(Supervisor().asked)
    waiting = asyncio.create_task(metrics())
    await asyncio.sleep(0)
    metrics.answered(b"")
    with pytest.raises(Unavailable, match="could not be gathered") as refused:
        await waiting
    assert refused.value.retry_after_seconds > 0
