"""Tests of the device pool: devices share one queue, and no request is lost when one of them is removed."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy
import pytest

from linnaeus.models.manifest import InputSpec
from linnaeus.server.errors import InternalFailure
from linnaeus.server.execution import device_pool
from linnaeus.server.execution.device_pool import DevicePool
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.picture import RawPixels
from linnaeus.server.requests.request import BatchOutcome, RequestBatch, RequestPayload, RequestTicket
from linnaeus.server.runtime.device import CoreShare
from linnaeus.server.runtime.model import Ranking
from linnaeus.server.scheduling import BatchQueue, LaneLimits, LatencyTable, NoDevice, Stage

LANE = ("fake", 1)
SPEC = InputSpec(channels=1, height=2, width=2, resize=2, interpolation="bilinear")
PATIENCE_SECONDS = 60


@dataclass(eq=False)
class FakeDevice:
    """A named device that responds only if `computes`."""

    name: str
    type: str = "cuda"
    computes: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False)
class ScriptedModel:
    """A model whose runs wait for `allowed` and then succeed if `is_well`; `takes_blank` passes its self-test."""

    device: FakeDevice
    is_well: bool = True
    is_short: bool = False
    takes_blank: bool = False
    allowed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(10**6))
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ran: list[int] = field(default_factory=list)
    is_closed: bool = False
    manifest: Any = field(default_factory=lambda: SimpleNamespace(name="fake", version=1))

    def run(self, images: Sequence[Any], k: int, want_features: bool = False) -> list[Ranking]:
        assert not self.is_closed
        self.entered.release()
        if not self.allowed.acquire(timeout=PATIENCE_SECONDS):
            raise TimeoutError
        self.ran += [int(image.flat[0]) for image in images]
        if not self.is_well:
            raise RuntimeError("no")
        return [Ranking([0], [1.0])] * len(images)

    def works(self) -> bool:
        return self.is_well or self.takes_blank

    def close(self) -> None:
        self.is_closed = True


class PoolHarness:
    """A device pool with its own queue; keeps the arguments of the pool's callbacks."""

    def __init__(self, max_batch_size: int = 1) -> None:
        self.queue: BatchQueue[RequestPayload] = BatchQueue(lambda: 1.0)
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        self.stranded: queue.Queue[list[RequestTicket]] = queue.Queue()
        self.removed_devices: queue.Queue[str] = queue.Queue()
        self.lost: queue.Queue[list[RequestTicket]] = queue.Queue()
        self.faults: list[str] = []
        self.max_batch_size = max_batch_size
        self.on_removal: Callable[[], None] = lambda: None
        self.pool = DevicePool(
            self.queue,
            workers=1,
            intra_op_threads=0,
            clock=lambda: 1.0,
            on_batch_started=lambda batch: None,
            on_batch_finished=self._on_batch_finished,
            on_stranded=self.stranded.put,
            on_device_removed=self._on_device_removed,
            on_batch_lost=lambda tickets, error: self.lost.put(tickets),
            supervisor=Supervisor(self.faults.append),
        )

    def _on_batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        self.outcomes.put(outcome)

    def _on_device_removed(self, device: str) -> None:
        self.removed_devices.put(device)
        self.on_removal()

    def serve(self, *models: ScriptedModel) -> None:
        limits = LaneLimits(self.max_batch_size, max_queue_size=1000)
        tables = {str(model.device): LatencyTable({1: 0.01, 8: 0.05}) for model in models}
        for model in models:
            self.pool.add_model(LANE, model)  # type: ignore[arg-type]
        self.queue.open_lane(LANE, limits, tables)

    def put(self, number: int) -> RequestTicket:
        """Admits an image; the decoder queues it when the devices need one."""
        future: Any = None  # not used: nothing delivers results
        payload = RequestPayload(number, RawPixels(b"", 2, 2, 1), SPEC, 1, future)
        payload.pixels = numpy.full((2, 2, 1), number, numpy.uint8)
        ticket = self.queue.admit(LANE, payload)
        self.queue.notify()
        return ticket

    def decode(self) -> None:
        """Runs the decoder thread's loop until the queue is closed."""
        while (turn := self.queue.next_to_decode()) is not None:
            for stranded in self.queue.put(dict.fromkeys(turn.tickets, 0.0)):
                self.queue.cancel(stranded)

    def outcome(self) -> BatchOutcome:
        """Returns the next outcome that has images."""
        while not (outcome := self.outcomes.get(timeout=PATIENCE_SECONDS)).items:
            pass
        return outcome

    def results(self, count: int) -> dict[int, Any]:
        """Returns the results of the next `count` images, by number."""
        results: dict[int, Any] = {}
        while len(results) < count:
            for item in self.outcome().items:
                assert item.ticket.payload.number not in results, "an image has one result"
                results[item.ticket.payload.number] = item.result
        return results


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PoolHarness]:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: device.computes)
    made = PoolHarness()
    decoder = threading.Thread(target=made.decode, daemon=True)
    decoder.start()
    yield made
    made.queue.close()
    await asyncio.wait_for(made.pool.wait_closed(), PATIENCE_SECONDS)
    decoder.join(PATIENCE_SECONDS)


async def test_two_devices_run_batches_at_the_same_time(pool: PoolHarness) -> None:
    first, second = (ScriptedModel(FakeDevice(name), allowed=threading.Semaphore(0)) for name in ("a", "b"))
    pool.serve(first, second)
    pool.put(1), pool.put(2)
    for model in (first, second):
        assert model.entered.acquire(timeout=PATIENCE_SECONDS), "both devices have a batch before either finishes"
    first.allowed.release(), second.allowed.release()
    assert sorted(pool.results(2)) == [1, 2]
    assert pool.pool.states == {"a": True, "b": True}


@pytest.mark.parametrize("is_short", [False, True])
async def test_a_run_uses_the_cores_chosen_for_its_model(
    pool: PoolHarness, monkeypatch: pytest.MonkeyPatch, is_short: bool
) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(CoreShare, "take", lambda _, beside, is_short=False: taken.append(is_short))
    pool.serve(ScriptedModel(FakeDevice("a"), is_short=is_short))
    pool.put(1)
    assert list(pool.results(1)) == [1] and taken == [is_short]


async def test_an_unresponsive_device_is_removed_and_the_other_answers_all_requests(
    pool: PoolHarness, caplog: pytest.LogCaptureFixture
) -> None:
    dead = ScriptedModel(FakeDevice("dead", computes=False), is_well=False)
    well = ScriptedModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.on_removal = lambda: well.allowed.release(10**6)  # blocks the healthy device until the other is removed
    pool.serve(dead, well)
    for number in range(6):
        pool.put(number)
    results = await asyncio.to_thread(pool.results, 6)
    assert set(results) == set(range(6)) and all(isinstance(result, Ranking) for result in results.values())
    assert sorted(well.ran) == list(range(6)) and len(dead.ran) == 1
    assert pool.removed_devices.get_nowait() == "dead" and pool.stranded.get_nowait() == [], (
        "the other device can run all tickets"
    )
    assert pool.pool.states == {"dead": False, "well": True}
    assert "device dead keeps failing and is taken out" in caplog.text


async def test_every_image_of_a_removed_device_is_answered_even_in_a_large_batch(pool: PoolHarness) -> None:
    pool.max_batch_size = 4
    dead = ScriptedModel(FakeDevice("dead", computes=False), is_well=False)
    well = ScriptedModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.on_removal = lambda: well.allowed.release(10**6)
    pool.serve(dead, well)
    for number in range(12):
        pool.put(number)
    results = await asyncio.to_thread(pool.results, 12)
    assert all(isinstance(result, Ranking) for result in results.values())
    assert sorted(well.ran) == list(range(12))


async def test_a_device_is_removed_after_three_failures_if_the_other_succeeds(
    pool: PoolHarness,
) -> None:
    bad = ScriptedModel(FakeDevice("bad"), is_well=False, allowed=threading.Semaphore(0))
    well = ScriptedModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.serve(bad, well)
    for number in range(5):
        pool.put(number)
    for model in (bad, well):
        assert model.entered.acquire(timeout=PATIENCE_SECONDS)
    devices = []
    for model in (bad, well, bad):  # `well` succeeds after the first failure
        model.allowed.release()
        devices.append(pool.outcome().device)
    assert devices == ["bad", "well", "bad"] and pool.pool.states == {"bad": True, "well": True}
    bad.allowed.release()  # the third failure
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "bad" and pool.stranded.get_nowait() == []
    well.allowed.release(10**6)
    results = pool.results(2)
    assert all(isinstance(result, Ranking) for result in results.values()), "the other device answers the third image"
    assert pool.pool.states == {"bad": False, "well": True}
    assert len(bad.ran) == 3


async def test_a_model_that_fails_on_all_devices_of_the_pool_removes_none(pool: PoolHarness) -> None:
    models = [ScriptedModel(FakeDevice(name), is_well=False) for name in ("a", "b")]
    pool.serve(*models)
    for number in range(20):
        pool.put(number)
    results = pool.results(20)
    assert all(isinstance(result, InternalFailure) for result in results.values())
    assert pool.pool.states == {"a": True, "b": True} and pool.stranded.empty()


async def test_images_that_a_model_fails_on_remove_no_device_if_a_blank_image_succeeds(pool: PoolHarness) -> None:
    failing = ScriptedModel(FakeDevice("a"), is_well=False, takes_blank=True, allowed=threading.Semaphore(0))
    well = ScriptedModel(FakeDevice("b"), allowed=threading.Semaphore(0))
    pool.serve(failing, well)
    for number in range(8):
        pool.put(number)
    for model in (failing, well, failing, failing, failing, failing):  # `well` succeeds after the first failure
        assert model.entered.acquire(timeout=PATIENCE_SECONDS)
        model.allowed.release()
        assert pool.outcome().device == model.device.name
    assert pool.pool.states == {"a": True, "b": True} and pool.stranded.empty()
    for model in (failing, well):
        model.allowed.release(10**6)


async def test_removal_of_the_last_device_ends_waiting_requests_and_refuses_new_ones(pool: PoolHarness) -> None:
    model = ScriptedModel(FakeDevice("a", computes=False), is_well=False, allowed=threading.Semaphore(0))
    pool.serve(model)
    tickets = [pool.put(number) for number in range(5)]
    assert model.entered.acquire(timeout=PATIENCE_SECONDS)
    model.allowed.release()
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "a"
    stranded = pool.stranded.get_nowait()
    assert tickets[0] in stranded
    in_hand = set(tickets) - set(stranded)
    assert len(in_hand) <= 1, "the decoder may hold one ticket, which it cancels itself"
    assert all(ticket.stage is Stage.ENDED for ticket in stranded)
    with pytest.raises(NoDevice):
        pool.queue.admit(LANE, tickets[0].payload)
    assert len(model.ran) == 1


async def test_every_worker_of_a_removed_device_ends(monkeypatch: pytest.MonkeyPatch, pool: PoolHarness) -> None:
    monkeypatch.setattr(device_pool, "default_workers", lambda device: 3)
    several = DevicePool(
        pool.queue,
        0,
        0,
        lambda: 1.0,
        lambda batch: None,
        lambda batch, outcome: None,
        pool.stranded.put,
        pool.removed_devices.put,
        lambda tickets, error: None,
        Supervisor(),
    )
    model = ScriptedModel(FakeDevice("a", computes=False), is_well=False)
    several.add_model(LANE, model)  # type: ignore[arg-type]
    pool.queue.open_lane(LANE, LaneLimits(1, 1000), {"a": LatencyTable({1: 0.01})})
    ticket = pool.put(1)
    await asyncio.wait_for(several.wait_closed(), PATIENCE_SECONDS)
    assert several.states == {"a": False} and ticket.stage is Stage.ENDED and model.is_closed
    assert pool.removed_devices.get_nowait() == "a" and pool.removed_devices.empty(), "a removal is reported once"


@pytest.mark.parametrize(("streams", "computes_on", "workers"), [(0, "cpu", 3), (0, "cuda", 2), (4, "cpu", 4)])
async def test_a_cpu_has_a_worker_for_another_model_unless_the_operator_says_how_many(
    monkeypatch: pytest.MonkeyPatch, pool: PoolHarness, streams: int, computes_on: str, workers: int
) -> None:
    monkeypatch.setattr(device_pool, "default_workers", lambda device: 2)
    arguments = (lambda: 1.0, lambda batch: None, lambda batch, outcome: None, pool.stranded.put)
    made = DevicePool(
        pool.queue, streams, 0, *arguments, pool.removed_devices.put, lambda tickets, error: None, Supervisor()
    )
    model = ScriptedModel(FakeDevice("a", computes_on))
    made.add_model(LANE, model)  # type: ignore[arg-type]
    assert made.workers == {"a": workers}
    pool.queue.close()
    await asyncio.wait_for(made.wait_closed(), PATIENCE_SECONDS)
