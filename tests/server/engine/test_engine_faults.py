"""A fault anywhere between admission and answer: its caller is answered, and the next one gets its answer."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.server.engine.engine_fakes import digit, let_others_run
from tests.server.injected_faults import FAULTS, FailsFirst, refuse_threads

from linnaeus.server.config.settings import Settings
from linnaeus.server.decoding import decoder_threads
from linnaeus.server.engine import responses
from linnaeus.server.engine.local_engine import LocalEngine
from linnaeus.server.engine.request_state import Outcome
from linnaeus.server.errors import InternalFailure, RequestError, StartupError
from linnaeus.server.execution import device_pool
from linnaeus.server.model_store.catalog import ModelState
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.request import Classification
from linnaeus.server.runtime.device import CoreShare

PATIENCE_SECONDS = 60


class FaultyEventLog:
    """An event log whose first write of one event raises."""

    is_on = True

    def __init__(self, event: str, error: type[BaseException]) -> None:
        self._event = event
        self._fail = FailsFirst(lambda: None, error)

    def write(self, event: str, at: float, **fields: Any) -> None:
        if event == self._event:
            self._fail()

    def close(self) -> None:
        """Does nothing."""


class FaultyRecords:
    """A record handler whose first call of one method raises."""

    def __init__(self, method: str, error: type[BaseException]) -> None:
        setattr(self, method, FailsFirst(getattr(self, method), error))

    def sample(self, number: int) -> object:
        return number

    def request_ended(self, context: object, record: object) -> None:
        """Does nothing."""

    def batch_ended(self, record: object) -> None:
        """Does nothing."""


@asynccontextmanager
async def serving(repository: Path, observer: Any, faults: list[str], **options: Any) -> AsyncIterator[LocalEngine]:
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2, streams=1)
    engine = LocalEngine(settings, observer, supervisor=Supervisor(faults.append), **options)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append("event_loop"))
    await engine.load()
    try:
        yield engine
    finally:
        await asyncio.wait_for(engine.close(), PATIENCE_SECONDS)
        for thread in threading.enumerate():
            if thread.name == "linnaeus-decode":  # it may have a fault to report after its caller was answered
                thread.join(PATIENCE_SECONDS)


async def outcome(engine: LocalEngine, **changes: Any) -> Classification | RequestError:
    try:
        return await asyncio.wait_for(engine.classify(digit(**changes)), PATIENCE_SECONDS)
    except RequestError as error:
        return error


@pytest.fixture
def faults() -> list[str]:
    return []


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize(
    ("place", "name", "part"),
    [
        (CoreShare, "take", "device_worker"),
        (device_pool._PooledDevice, "model", "device_worker"),
        (decoder_threads, "decode", "decoder"),
        (responses, "timed_ranking", "result_delivery"),
        (responses, "classification", "result_delivery"),
    ],
)
async def test_a_fault_on_the_way_of_a_request_is_an_internal_failure_and_the_next_request_is_answered(
    repository: Path,
    observer: Any,
    monkeypatch: pytest.MonkeyPatch,
    faults: list[str],
    place: Any,
    name: str,
    part: str,
    error: type[BaseException],
) -> None:
    async with serving(repository, observer, faults) as engine:
        real = getattr(place, name)
        fault = FailsFirst(real, error)
        monkeypatch.setattr(place, name, lambda *arguments, **options: fault(*arguments, **options))
        failure = await outcome(engine)
        assert isinstance(failure, InternalFailure) and failure.reference in str(failure)
        assert isinstance(await outcome(engine), Classification)
        assert engine.in_flight == 0 and engine.device_states == {"cpu": True}
    assert faults == [part] and observer.rejections == [("lenet", "failed")]


@pytest.mark.parametrize("error", FAULTS)
@pytest.mark.parametrize("event", ["batch", "ran", "ended"])
async def test_a_fault_of_the_event_log_costs_no_caller_its_answer(
    repository: Path, observer: Any, faults: list[str], event: str, error: type[BaseException]
) -> None:
    async with serving(repository, observer, faults, event_log=FaultyEventLog(event, error)) as engine:
        first = await outcome(engine)
        assert isinstance(first, Classification if event == "ended" else InternalFailure)
        assert isinstance(await outcome(engine), Classification)
        assert engine.in_flight == 0
    assert len(faults) == 1


@pytest.mark.parametrize("error", FAULTS)
async def test_a_fault_of_the_event_log_while_an_image_is_refused_costs_no_caller_its_answer(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch, faults: list[str], error: type[BaseException]
) -> None:
    async with serving(repository, observer, faults, event_log=FaultyEventLog("dropped", error)) as engine:
        with monkeypatch.context() as broken:
            broken.setattr(decoder_threads, "decode", FailsFirst(None, ZeroDivisionError))  # type: ignore[arg-type]
            assert isinstance(await outcome(engine), InternalFailure)
        assert isinstance(await outcome(engine), Classification)
    assert faults == ["decoder", "decoder"]


@pytest.mark.parametrize("error", [ZeroDivisionError, MemoryError])
@pytest.mark.parametrize("method", ["request_ended", "batch_ended"])
async def test_a_fault_of_a_record_handler_costs_no_caller_its_answer(
    repository: Path, observer: Any, faults: list[str], method: str, error: type[BaseException]
) -> None:
    async with serving(repository, observer, faults, record_handler=FaultyRecords(method, error)) as engine:
        for _ in range(2):
            assert isinstance(await outcome(engine), Classification)
        assert engine.in_flight == 0
    assert faults == ["request_reports" if method == "request_ended" else "event_loop"]


@pytest.mark.parametrize("name", ["batch", "rejected", "cancelled"])
async def test_a_fault_of_the_metrics_costs_no_caller_its_answer(
    repository: Path, observer: Any, faults: list[str], name: str
) -> None:
    setattr(observer, name, FailsFirst(getattr(observer, name), ZeroDivisionError))
    async with serving(repository, observer, faults) as engine:
        cancelled = asyncio.create_task(engine.classify(digit()))
        await let_others_run()
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        for _ in range(2):
            assert isinstance(await outcome(engine, deadline=1.0), RequestError), "the deadline has passed"
            assert isinstance(await outcome(engine), Classification)
        assert engine.in_flight == 0
    assert faults == ["event_loop" if name == "batch" else "request_reports"]


async def test_a_fault_at_the_delivery_of_one_answer_costs_the_others_of_its_batch_nothing(
    repository: Path, observer: Any, faults: list[str]
) -> None:
    def fail(outcome: Outcome) -> None:
        raise ZeroDivisionError

    answers: asyncio.Queue[Outcome] = asyncio.Queue()
    async with serving(repository, observer, faults) as engine:
        engine.begin(digit(), fail)
        engine.begin(digit(1), answers.put_nowait)
        assert isinstance(await asyncio.wait_for(answers.get(), PATIENCE_SECONDS), Classification)
        while engine.in_flight:  # the two may have run in batches of their own, in any order
            await asyncio.sleep(0)
    assert faults == ["result_delivery"]


async def test_a_server_that_cannot_start_its_decoders_says_so(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = LocalEngine(Settings(repository=repository, models="lenet", device="cpu"), observer)
    refuse_threads(monkeypatch)
    with pytest.raises(StartupError, match="only 0 of"):
        await engine.load()


async def test_a_model_for_which_no_thread_can_be_started_is_refused_and_can_be_loaded_later(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch, faults: list[str]
) -> None:
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2, decode_threads=1)
    engine = LocalEngine(settings, observer, supervisor=Supervisor(faults.append))
    with monkeypatch.context() as limited:
        refuse_threads(limited, after=1)  # the decoder
        await engine.load()
    (entry,) = engine.catalog.entries()
    assert entry.state is ModelState.FAILED and "log reference" in entry.reason
    assert [entry.state for entry in await engine.model_manager.load_model("lenet")] == [ModelState.READY]
    assert isinstance(await outcome(engine), Classification)
    await engine.close()
    assert len(faults) == 1


async def test_a_model_whose_workers_cannot_be_started_is_refused_and_can_be_loaded_later(
    repository: Path, observer: Any, monkeypatch: pytest.MonkeyPatch, faults: list[str]
) -> None:
    settings = Settings(repository=repository, models="lenet", device="cpu", max_batch_size=2)
    engine = LocalEngine(settings, observer, supervisor=Supervisor(faults.append))
    with monkeypatch.context() as limited:
        fault = FailsFirst(device_pool.DeviceWorker.start, RuntimeError)
        limited.setattr(device_pool.DeviceWorker, "start", lambda worker, loop: fault(worker, loop))
        await engine.load()
    (entry,) = engine.catalog.entries()
    assert entry.state is ModelState.FAILED and "cannot be started" in entry.reason
    assert [entry.state for entry in await engine.model_manager.load_model("lenet")] == [ModelState.READY]
    assert isinstance(await outcome(engine), Classification)
    await engine.close()
    assert faults == ["device_worker"]
