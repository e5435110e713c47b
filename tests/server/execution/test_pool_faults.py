"""A device pool whose parts fail: a device whose worker keeps failing is removed, and no caller waits for ever."""

import threading

import pytest
from tests.server.execution.test_device_pool import (
    LANE,
    PATIENCE_SECONDS,
    FakeDevice,
    PoolHarness,
    ScriptedModel,
    pool,
)
from tests.server.injected_faults import FAULTS, FailsFirst, refuse_threads

from linnaeus.server.errors import InternalFailure, ModelRefused
from linnaeus.server.execution import device_pool
from linnaeus.server.runtime.model import Ranking

__all__ = ["pool"]


async def test_a_device_whose_worker_keeps_failing_is_removed_if_the_other_succeeds(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = ScriptedModel(FakeDevice("bad"), allowed=threading.Semaphore(0))
    well = ScriptedModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.serve(bad, well)
    bad_cores = pool.pool._devices["bad"]
    step = threading.Semaphore(0)

    def share_cores(batch: object) -> None:
        bad.entered.release()
        assert step.acquire(timeout=PATIENCE_SECONDS)
        raise SystemExit("injected")

    monkeypatch.setattr(bad_cores, "share_cores", share_cores)
    for number in range(5):
        pool.put(number)
    for model in (bad, well):
        assert model.entered.acquire(timeout=PATIENCE_SECONDS)
    devices = []
    for release in (step, well.allowed, step):  # `well` succeeds after the first fault
        release.release()
        outcome = pool.outcome()
        devices.append(outcome.device)
        expected = Ranking if outcome.device == "well" else InternalFailure
        assert all(isinstance(item.result, expected) for item in outcome.items)
    assert devices == ["bad", "well", "bad"] and pool.pool.states == {"bad": True, "well": True}
    step.release()  # the third fault
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "bad"
    well.allowed.release(10**6)
    assert all(isinstance(result, Ranking) for result in pool.results(2).values()), "the other device answers"
    assert pool.pool.states == {"bad": False, "well": True} and pool.faults == ["device_worker"] * 3


@pytest.mark.parametrize("judge", ["is_responsive", "works"])
async def test_a_device_that_cannot_be_judged_does_not_end_its_worker(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch, judge: str
) -> None:
    model = ScriptedModel(FakeDevice("a"), is_well=False)
    place = device_pool if judge == "is_responsive" else model
    monkeypatch.setattr(place, judge, FailsFirst(getattr(place, judge), ZeroDivisionError))
    pool.serve(model)
    pool.put(1)
    assert isinstance(pool.results(1)[1], InternalFailure)
    model.is_well = True
    pool.put(2)
    assert isinstance(pool.results(1)[2], Ranking) and pool.faults == ["device_worker"]


async def test_a_worker_that_keeps_failing_without_a_batch_takes_the_device_out(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool.queue, "take", FailsFirst(pool.queue.take, MemoryError, 100))
    pool.serve(ScriptedModel(FakeDevice("a")))
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "a" and pool.pool.states == {"a": False}


async def test_the_callers_of_a_lost_batch_are_answered(pool: PoolHarness) -> None:
    pool.pool.batch_finished = FailsFirst(pool.pool.batch_finished, ZeroDivisionError, 2)
    pool.serve(ScriptedModel(FakeDevice("a")))
    ticket = pool.put(1)
    assert pool.lost.get(timeout=PATIENCE_SECONDS) == [ticket]
    pool.put(2)
    assert isinstance(pool.results(1)[2], Ranking)


@pytest.mark.parametrize("error", FAULTS)
async def test_a_fault_of_the_queue_during_a_run_on_the_event_loop_is_reported(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    pool.serve(ScriptedModel(FakeDevice("a")))
    monkeypatch.setattr(pool.queue, "take_short", FailsFirst(pool.queue.take_short, error))
    assert pool.pool.run_short() is False
    assert pool.faults == ["device_worker"]


@pytest.mark.parametrize("started", [0, 1])
async def test_a_device_whose_threads_cannot_be_started_refuses_the_model_until_they_can(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch, started: int
) -> None:
    pool.pool._workers = 2
    with monkeypatch.context() as limited:
        refuse_threads(limited, after=started)
        with pytest.raises(ModelRefused, match=r"the 2 threads of device a cannot be started \(can't start new thread"):
            pool.pool.add_model(LANE, ScriptedModel(FakeDevice("a")))  # type: ignore[arg-type]
    assert pool.pool.states == {} and pool.faults == ["device_worker"]
    pool.serve(ScriptedModel(FakeDevice("a")))
    pool.put(1)
    assert isinstance(pool.results(1)[1], Ranking)
