"""Tests of runs on the event loop."""

import threading
from pathlib import Path
from typing import Any

import numpy
import pytest
from tests.server.engine.engine_fakes import digit, model_of, running

from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import Request
from linnaeus.server.runtime.model import Model


def digit_as_it_is() -> Request:
    """Returns a request whose image already is the model's input."""
    data = numpy.random.default_rng(7).integers(0, 256, 28 * 28, numpy.uint8).tobytes()
    return Request(RawPixels(data, 28, 28, 1), model="lenet")


def watch_runs(engine: LocalEngine, monkeypatch: pytest.MonkeyPatch, runs_inline: bool) -> list[bool]:
    """Returns a list that gets, for each later run of the only model, whether it was on the event loop's thread."""
    runs: list[bool] = []
    run = Model.run

    def watched(model: Model, *arguments: Any) -> Any:
        runs.append(threading.current_thread() is threading.main_thread())
        return run(model, *arguments)

    model_of(engine).runs_inline = runs_inline  # overrides the result of the warm-up
    monkeypatch.setattr(Model, "run", watched)
    return runs


async def test_lone_requests_run_on_the_event_loop_until_requests_are_concurrent(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_it_is = digit_as_it_is()
    async with running(repository, observer, models="lenet") as engine:
        runs = watch_runs(engine, monkeypatch, runs_inline=True)
        answers = [await engine.classify(as_it_is) for _ in range(32)]
        assert not any(runs)
        while not runs[-1]:  # the previous worker may not have finished yet
            answers.append(await engine.classify(as_it_is))
        runs.clear()
        answers += await engine.classify_many([as_it_is] * 2)
        answers += [await engine.classify(as_it_is) for _ in range(32)]
        assert not any(runs)
        while not runs[-1]:
            answers.append(await engine.classify(as_it_is))
        runs.clear()
        for seed in range(8):
            await engine.classify(digit(seed))
        assert not any(runs), "images that need decoding go to the workers"
    assert len({tuple(answer.ranking.indices) for answer in answers}) == 1
    assert {report.size for report in observer.batches} == {1, 2}


async def test_a_model_with_longer_runs_never_runs_on_the_event_loop(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(repository, observer, models="lenet") as engine:
        runs = watch_runs(engine, monkeypatch, runs_inline=False)
        for _ in range(64):
            await engine.classify(digit_as_it_is())
    assert runs == [False] * 64
