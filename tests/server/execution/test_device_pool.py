"""Devices share one queue, and one that fails is taken out without anybody else's loss."""

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
    """A device by name that computes, or does not."""

    name: str
    type: str = "cuda"
    computes: bool = True

    def __str__(self) -> str:
        return self.name


@dataclass(eq=False)
class FakeModel:
    """Runs when `allowed` lets it, and then succeeds or fails; it may fail at pictures and not at a blank one."""

    device: FakeDevice
    is_well: bool = True
    is_short: bool = False
    takes_blank: bool = False
    allowed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(10**6))
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    ran: list[int] = field(default_factory=list)
    is_closed: bool = False
    manifest: Any = field(default_factory=lambda: SimpleNamespace(name="fake", version=1))

    def run(self, images: Sequence[Any], k: int) -> list[Ranking]:
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


class Pool:
    """A pool on a queue of its own; whatever it tells is kept."""

    def __init__(self, max_batch_size: int = 1) -> None:
        self.queue: BatchQueue[RequestPayload] = BatchQueue(lambda: 1.0)
        self.outcomes: queue.Queue[BatchOutcome] = queue.Queue()
        self.stranded: queue.Queue[list[RequestTicket]] = queue.Queue()
        self.removed_devices: queue.Queue[str] = queue.Queue()
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
        )

    def _on_batch_finished(self, batch: RequestBatch, outcome: BatchOutcome) -> None:
        self.outcomes.put(outcome)

    def _on_device_removed(self, device: str) -> None:
        self.removed_devices.put(device)
        self.on_removal()

    def serve(self, *models: FakeModel) -> None:
        limits = LaneLimits(self.max_batch_size, max_queue_size=1000)
        tables = {str(model.device): LatencyTable({1: 0.01, 8: 0.05}) for model in models}
        for model in models:
            self.pool.add_model(LANE, model)  # type: ignore[arg-type]
        self.queue.open_lane(LANE, limits, tables)

    def put(self, number: int) -> RequestTicket:
        """A picture is admitted; it is decoded when the devices want it."""
        answer: Any = None  # nobody waits here
        payload = RequestPayload(number, RawPixels(b"", 2, 2, 1), SPEC, 1, answer)
        payload.pixels = numpy.full((2, 2, 1), number, numpy.uint8)
        ticket = self.queue.admit(LANE, payload)
        self.queue.notify()
        return ticket

    def decode(self) -> None:
        """What the decoder's thread does."""
        while (turn := self.queue.next_to_decode()) is not None:
            for stranded in self.queue.put(dict.fromkeys(turn.tickets, 0.0)):
                self.queue.cancel(stranded)

    def outcome(self) -> BatchOutcome:
        """The next one that ran."""
        while not (outcome := self.outcomes.get(timeout=PATIENCE_SECONDS)).items:
            pass
        return outcome

    def results(self, count: int) -> dict[int, Any]:
        """What became of the next so many images, by number."""
        found: dict[int, Any] = {}
        while len(found) < count:
            for item in self.outcome().items:
                assert item.ticket.payload.number not in found, "an image comes back once"
                found[item.ticket.payload.number] = item.result
        return found


@pytest.fixture
async def pool(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pool]:
    monkeypatch.setattr(device_pool, "is_responsive", lambda device: device.computes)
    made = Pool()
    decoder = threading.Thread(target=made.decode, daemon=True)
    decoder.start()
    yield made
    made.queue.close()
    await asyncio.wait_for(made.pool.wait_closed(), PATIENCE_SECONDS)
    decoder.join(PATIENCE_SECONDS)


async def test_two_devices_work_at_the_same_time(pool: Pool) -> None:
    first, second = (FakeModel(FakeDevice(name), allowed=threading.Semaphore(0)) for name in ("a", "b"))
    pool.serve(first, second)
    pool.put(1), pool.put(2)
    for model in (first, second):
        assert model.entered.acquire(timeout=PATIENCE_SECONDS), "each has a batch before either has ended"
    first.allowed.release(), second.allowed.release()
    assert sorted(pool.results(2)) == [1, 2]
    assert pool.pool.states == {"a": True, "b": True}


@pytest.mark.parametrize("is_short", [False, True])
async def test_a_run_takes_the_cores_that_its_model_is_to_have(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, is_short: bool
) -> None:
    taken: list[bool] = []
    monkeypatch.setattr(CoreShare, "take", lambda _, beside, is_short=False: taken.append(is_short))
    pool.serve(FakeModel(FakeDevice("a"), is_short=is_short))
    pool.put(1)
    assert list(pool.results(1)) == [1] and taken == [is_short]


async def test_a_device_that_does_not_answer_is_taken_out_and_the_other_answers_everything(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    dead = FakeModel(FakeDevice("dead", computes=False), is_well=False)
    well = FakeModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.on_removal = lambda: well.allowed.release(10**6)  # the other one gets on only once this one is out
    pool.serve(dead, well)
    for number in range(6):
        pool.put(number)
    results = await asyncio.to_thread(pool.results, 6)
    assert set(results) == set(range(6)) and all(isinstance(result, Ranking) for result in results.values())
    assert sorted(well.ran) == list(range(6)) and len(dead.ran) == 1
    assert pool.removed_devices.get_nowait() == "dead" and pool.stranded.get_nowait() == [], (
        "the other device can run it all"
    )
    assert pool.pool.states == {"dead": False, "well": True}
    assert "device dead keeps failing and is taken out" in caplog.text


async def test_what_a_lost_device_held_is_lost_to_nobody_even_in_a_large_batch(pool: Pool) -> None:
    pool.max_batch_size = 4
    dead = FakeModel(FakeDevice("dead", computes=False), is_well=False)
    well = FakeModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.on_removal = lambda: well.allowed.release(10**6)
    pool.serve(dead, well)
    for number in range(12):
        pool.put(number)
    results = await asyncio.to_thread(pool.results, 12)
    assert all(isinstance(result, Ranking) for result in results.values())
    assert sorted(well.ran) == list(range(12))


async def test_a_device_that_keeps_failing_at_what_the_other_can_do_is_taken_out_after_three_in_a_row(
    pool: Pool,
) -> None:
    bad = FakeModel(FakeDevice("bad"), is_well=False, allowed=threading.Semaphore(0))
    well = FakeModel(FakeDevice("well"), allowed=threading.Semaphore(0))
    pool.serve(bad, well)
    for number in range(5):
        pool.put(number)
    for model in (bad, well):
        assert model.entered.acquire(timeout=PATIENCE_SECONDS)
    devices = []
    for model in (bad, well, bad):  # the other succeeds after the first failure
        model.allowed.release()
        devices.append(pool.outcome().device)
    assert devices == ["bad", "well", "bad"] and pool.pool.states == {"bad": True, "well": True}
    bad.allowed.release()  # its third
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "bad" and pool.stranded.get_nowait() == []
    well.allowed.release(10**6)
    results = pool.results(2)
    assert all(isinstance(result, Ranking) for result in results.values()), "the third is the other one's to answer"
    assert pool.pool.states == {"bad": False, "well": True}
    assert len(bad.ran) == 3


async def test_a_model_that_fails_everywhere_takes_no_device_out(pool: Pool) -> None:
    models = [FakeModel(FakeDevice(name), is_well=False) for name in ("a", "b")]
    pool.serve(*models)
    for number in range(20):
        pool.put(number)
    results = pool.results(20)
    assert all(isinstance(result, InternalFailure) for result in results.values())
    assert pool.pool.states == {"a": True, "b": True} and pool.stranded.empty()


async def test_pictures_that_a_model_fails_on_take_no_device_out_if_a_blank_one_goes_through(pool: Pool) -> None:
    guilty = FakeModel(FakeDevice("a"), is_well=False, takes_blank=True, allowed=threading.Semaphore(0))
    well = FakeModel(FakeDevice("b"), allowed=threading.Semaphore(0))
    pool.serve(guilty, well)
    for number in range(8):
        pool.put(number)
    for turn in (guilty, well, guilty, guilty, guilty, guilty):  # the other succeeds after the first failure
        assert turn.entered.acquire(timeout=PATIENCE_SECONDS)
        turn.allowed.release()
        assert pool.outcome().device == turn.device.name
    assert pool.pool.states == {"a": True, "b": True} and pool.stranded.empty()
    for model in (guilty, well):
        model.allowed.release(10**6)


async def test_with_the_last_device_go_those_who_wait_and_those_who_come(pool: Pool) -> None:
    model = FakeModel(FakeDevice("a", computes=False), is_well=False, allowed=threading.Semaphore(0))
    pool.serve(model)
    tickets = [pool.put(number) for number in range(5)]
    assert model.entered.acquire(timeout=PATIENCE_SECONDS)
    model.allowed.release()
    assert pool.removed_devices.get(timeout=PATIENCE_SECONDS) == "a"
    stranded = pool.stranded.get_nowait()
    assert tickets[0] in stranded
    in_hand = set(tickets) - set(stranded)
    assert len(in_hand) <= 1, "one may be at the decoder, who finds out by itself"
    assert all(ticket.stage is Stage.ENDED for ticket in stranded)
    with pytest.raises(NoDevice):
        pool.queue.admit(LANE, tickets[0].payload)
    assert len(model.ran) == 1


async def test_every_worker_of_a_removed_device_ends(monkeypatch: pytest.MonkeyPatch, pool: Pool) -> None:
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
    )
    model = FakeModel(FakeDevice("a", computes=False), is_well=False)
    several.add_model(LANE, model)  # type: ignore[arg-type]
    pool.queue.open_lane(LANE, LaneLimits(1, 1000), {"a": LatencyTable({1: 0.01})})
    ticket = pool.put(1)
    await asyncio.wait_for(several.wait_closed(), PATIENCE_SECONDS)
    assert several.states == {"a": False} and ticket.stage is Stage.ENDED and model.is_closed
    assert pool.removed_devices.get_nowait() == "a" and pool.removed_devices.empty(), "a device is lost once"
