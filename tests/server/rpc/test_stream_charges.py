"""StreamClassify where each image is charged by a core that may be slow or gone: order, errors, and nothing left."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.server.rpc.call_observers import QueueingCallObserver
from tests.server.rpc.served_classifier import served
from tests.server.rpc.test_stream_classify import PATIENCE_SECONDS, PendingEngine, code_of_ended_call, stream_request

from linnaeus.server.errors import Overloaded, Unavailable
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.security.byte_budget import ByteBudget
from linnaeus.v1 import classifier_pb2 as v1


class HeldCharges:
    """Charges that wait until the test ends them."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()

    async def charge(self, cost: float) -> None:
        held = asyncio.get_running_loop().create_future()
        self.begun.put_nowait(held)
        await held

    async def next(self) -> "asyncio.Future[None]":
        return await asyncio.wait_for(self.begun.get(), PATIENCE_SECONDS)


@pytest.fixture
async def engine() -> PendingEngine:
    return PendingEngine()


@pytest.fixture
async def charges() -> HeldCharges:
    return HeldCharges()


@pytest.fixture
def budget() -> ByteBudget:
    return ByteBudget(1024, 1 << 20, 1 << 20)


@pytest.fixture
def calls() -> QueueingCallObserver:
    return QueueingCallObserver()


@pytest.fixture
async def call(
    engine: PendingEngine, charges: HeldCharges, budget: ByteBudget, calls: QueueingCallObserver
) -> AsyncIterator[Any]:
    """A stream on which three images were sent."""
    servicer: Any = ClassifierServicer(
        engine,  # type: ignore[arg-type]
        v1.ServerLimits(stream_window=8),
        "0",
        charge=charges.charge,
    )
    async with served(servicer, calls, budget=budget) as stub:
        stream = stub.StreamClassify(timeout=PATIENCE_SECONDS)
        for number in range(3):
            await stream.write(stream_request(number))
        yield stream
        stream.cancel()
    while [task for task in asyncio.all_tasks() if "Stream." in repr(task)]:
        await asyncio.sleep(0)  # a task that outlives its stream makes the test time out


async def test_each_image_but_the_first_is_begun_once_it_is_charged_in_the_order_of_the_stream(
    call: Any, engine: PendingEngine, charges: HeldCharges
) -> None:
    held = [await charges.next() for _ in range(2)]
    assert len(engine.begun) == 1, "all are charged at once, and begun later"
    for each in held:
        each.set_result(None)
    await engine.wait_begun(3)
    for number in range(3):
        engine.complete(number)
        assert (await call.read()).correlation_id == number


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Overloaded("too often", 1.0), grpc.StatusCode.RESOURCE_EXHAUSTED),
        (Unavailable("the engine is gone", 1.0), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_an_image_whose_charge_fails_has_its_error_and_the_stream_goes_on(
    call: Any, engine: PendingEngine, charges: HeldCharges, error: Exception, code: grpc.StatusCode
) -> None:
    (await charges.next()).set_exception(error)
    answer = await call.read()
    assert (answer.correlation_id, answer.result.error.code) == (1, code.value[0])
    (await charges.next()).set_result(None)
    await engine.wait_begun(2)


async def test_a_fault_of_a_charge_ends_the_stream(
    call: Any, charges: HeldCharges, calls: QueueingCallObserver
) -> None:
    (await charges.next()).set_exception(ZeroDivisionError())
    assert await code_of_ended_call(calls) == "INTERNAL"


async def test_a_stream_that_is_cancelled_while_it_is_charged_leaves_nothing_behind(
    call: Any, engine: PendingEngine, charges: HeldCharges, budget: ByteBudget, calls: QueueingCallObserver
) -> None:
    held = [await charges.next() for _ in range(2)]
    call.cancel()
    assert await code_of_ended_call(calls) == "CANCELLED"
    await asyncio.wait(held)
    assert all(each.cancelled() for each in held) and len(engine.begun) == 1 and budget.held_bytes == 0


async def test_a_stopping_server_answers_the_images_that_are_being_charged(
    call: Any, engine: PendingEngine, charges: HeldCharges, calls: QueueingCallObserver
) -> None:
    held = [await charges.next() for _ in range(2)]
    engine.closing.set()
    for each in held:
        each.set_result(None)
    await engine.wait_begun(3)
    for number in range(3):
        engine.complete(number)
        assert (await call.read()).correlation_id == number
    assert await code_of_ended_call(calls) == "UNAVAILABLE"
