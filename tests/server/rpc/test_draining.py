"""While a server stops, answers are held until GOAWAY is sent: no caller that waits for its answers loses one."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.server.rpc.call_observers import QueueingCallObserver
from tests.server.rpc.held_servicer import HeldServicer
from tests.server.rpc.served_classifier import served

from linnaeus.server.rpc import draining as draining_module
from linnaeus.server.rpc.draining import CallDrainer
from linnaeus.v1 import classifier_pb2 as v1


class DrainingServer:
    def __init__(self, stub: Any, drainer: CallDrainer, servicer: HeldServicer, calls: QueueingCallObserver) -> None:
        self.stub, self.drainer, self.servicer, self.calls = stub, drainer, servicer, calls

    async def classify(self, timeout: float = 60) -> "asyncio.Task[v1.ClassifyResponse]":
        """Starts a call and waits until it reaches the server."""
        task = asyncio.ensure_future(_answer(self.stub.Classify(v1.ClassifyRequest(), timeout=timeout)))
        await asyncio.wait_for(self.calls.started.get(), 60)
        return task

    async def settle(self) -> "asyncio.Task[None]":
        """Starts to hold answers."""
        settling = asyncio.create_task(self.drainer.settle())
        await asyncio.sleep(0)
        return settling


@pytest.fixture
async def draining(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DrainingServer]:
    monkeypatch.setattr(draining_module, "_MAX_HOLD_SECONDS", 600.0)  # longer than these tests
    servicer, calls, drainer = HeldServicer(), QueueingCallObserver(), CallDrainer()
    async with served(servicer, calls, drainer=drainer) as stub:
        yield DrainingServer(stub, drainer, servicer, calls)
        drainer.release()
        servicer.may_end.set()


async def test_no_answer_is_held_before_the_server_stops(draining: DrainingServer) -> None:
    draining.servicer.may_end.set()
    assert (await (await draining.classify())).model == "answered"
    assert draining.drainer.in_flight == 0


async def test_calls_that_arrive_before_and_during_the_stop_are_answered_after_goaway(
    draining: DrainingServer,
) -> None:
    before = await draining.classify()
    settling = await draining.settle()
    during = await draining.classify()
    draining.servicer.may_end.set()
    await asyncio.wait_for(settling, 60)
    assert not before.done() and not during.done() and draining.drainer.in_flight == 2
    draining.drainer.release()
    assert [(await call).model for call in (before, during)] == ["answered"] * 2
    await asyncio.wait_for(draining.drainer.wait_ended(), 60)


async def test_a_refusal_is_held_like_an_answer(draining: DrainingServer) -> None:
    draining.servicer.may_end.set()
    settling = await draining.settle()
    call = draining.stub.ListModels(v1.ListModelsRequest(), timeout=60)  # this servicer has no such method
    await asyncio.wait_for(settling, 60)
    assert not call.done()
    draining.drainer.release()
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_no_answer_is_held_past_its_deadline(draining: DrainingServer) -> None:
    draining.servicer.may_end.set()
    await draining.settle()
    call = await draining.classify(timeout=2)
    assert (await call).model == "answered"  # although nobody has released it


async def test_goaway_is_sent_after_three_turns_without_a_call_or_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining_module, "_HOLD_SECONDS", 0.0)
    turns = 0

    async def sleep(seconds: float) -> None:
        nonlocal turns
        turns += 1
        if turns <= 5:
            await call(None, OutOfTime())

    async def answer(request: object, context: object) -> str:
        return "answer"

    drainer = CallDrainer(sleep)
    call = drainer.wrap(answer)
    await drainer.settle()
    assert turns == 5 + 3


class OutOfTime:
    """The context of a call whose answer cannot be held."""

    def time_remaining(self) -> float:
        return 0.0


async def test_callers_that_never_wait_do_not_delay_goaway_for_long(
    draining: DrainingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining_module, "_MAX_HOLD_SECONDS", 0.25)
    monkeypatch.setattr(draining_module, "_QUIET_TURNS", 10**9)
    await asyncio.wait_for(await draining.settle(), 60)


async def test_messages_of_a_stream_are_not_held(draining: DrainingServer) -> None:
    stream = draining.stub.StreamClassify(timeout=60)
    await stream.write(v1.StreamClassifyRequest(correlation_id=1))
    assert (await stream.read()).correlation_id == 1
    await draining.settle()
    await stream.write(v1.StreamClassifyRequest(correlation_id=2))
    assert (await stream.read()).correlation_id == 2
    stream.cancel()
    await asyncio.wait_for(draining.drainer.wait_ended(), 60)


async def _answer(call: Any) -> v1.ClassifyResponse:
    answer: v1.ClassifyResponse = await call
    return answer
