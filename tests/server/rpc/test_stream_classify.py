"""StreamClassify over a real connection: responses in order of completion, a bounded window, no leftover requests."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from tests.server.rpc.call_observers import QueueingCallObserver
from tests.server.rpc.served_classifier import served

from linnaeus.server.engine.request_state import RequestState
from linnaeus.server.errors import ModelNotFound, Unavailable
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc import stream_classify
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.stream_classify import ClassifyStream
from linnaeus.server.runtime.model import Ranking
from linnaeus.v1 import classifier_pb2 as v1

WINDOW = 3
PATIENCE_SECONDS = 60
ANSWER = Classification(Ranking([0], [1.0]), ["cat"], "m", 3, 1, 0.0, 0.0, 0.0)


class PendingEngine:
    """A stand-in for the engine that keeps requests until the test completes them."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.begun: list[tuple[Request, RequestState]] = []
        self.cancelled: list[RequestState] = []
        self._changed = asyncio.Condition()

    def begin(self, request: Request, on_outcome: Any) -> RequestState:
        def complete(state: RequestState, outcome: Any) -> None:
            state.is_done = True
            on_outcome(outcome)

        state = RequestState(len(self.begun), request, 0.0, on_outcome, complete)
        self.begun.append((request, state))
        if request.model == "unknown":
            state.set_exception(ModelNotFound("unknown", "there is no model"))
        return state

    def cancel(self, state: RequestState) -> None:
        self.cancelled.append(state)

    def complete(self, index: int) -> None:
        self.begun[index][1].set_result(ANSWER)  # type: ignore[arg-type]  # any outcome is passed on

    async def wait_begun(self, count: int) -> None:
        while len(self.begun) < count:
            await asyncio.sleep(0)


@pytest.fixture
def calls() -> QueueingCallObserver:
    return QueueingCallObserver()


@pytest.fixture
async def engine() -> PendingEngine:
    return PendingEngine()


@pytest.fixture
async def stub(engine: PendingEngine, calls: QueueingCallObserver) -> AsyncIterator[Any]:
    servicer = ClassifierServicer(engine, v1.ServerLimits(stream_window=WINDOW), "0", lambda: 1000.0)  # type: ignore[arg-type]
    async with served(servicer, calls) as client_stub:
        yield client_stub
    while [task for task in asyncio.all_tasks() if "Stream." in repr(task)]:
        await asyncio.sleep(0)  # a task that outlives its stream makes the test time out


def stream_request(correlation_id: int, **fields: Any) -> v1.StreamClassifyRequest:
    image = v1.Image(encoded=b"x", id=f"picture {correlation_id}")
    return v1.StreamClassifyRequest(correlation_id=correlation_id, **{"image": image, "model": "m"} | fields)


async def code_of_ended_call(calls: QueueingCallObserver) -> str:
    return await asyncio.wait_for(calls.codes.get(), PATIENCE_SECONDS)


async def test_responses_come_in_order_of_completion_with_correlation_and_image_ids(
    stub: Any, engine: PendingEngine
) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    for number in (7, 8):
        await call.write(stream_request(number, top_k=2, version="3", priority=v1.PRIORITY_LOW))
    await engine.wait_begun(2)
    engine.complete(1)
    answer = await call.read()
    assert (answer.correlation_id, answer.result.image_id, answer.model, answer.version) == (8, "picture 8", "m", 3)
    assert answer.result.classification.classes[0].label == "cat"
    engine.complete(0)
    assert (await call.read()).correlation_id == 7
    request = engine.begun[0][0]
    assert (request.top_k, request.version, request.priority) == (2, "3", Priority.LOW)
    assert request.deadline is not None and 1000.0 < request.deadline <= 1001.0 + PATIENCE_SECONDS and request.caller
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF and await call.code() is grpc.StatusCode.OK


async def test_the_earlier_of_an_image_s_and_the_stream_s_deadline_holds(stub: Any, engine: PendingEngine) -> None:
    limited, unlimited = stub.StreamClassify(timeout=600), stub.StreamClassify()
    for place, seconds in enumerate((5.0, 0.0, 9000.0)):
        await limited.write(stream_request(place, timeout_seconds=seconds))
        await engine.wait_begun(place + 1)
        engine.complete(place)
        assert (await limited.read()).correlation_id == place
    own, *rest = [request.deadline or 0.0 for request, _ in engine.begun]
    assert own == 1005.0 and len(set(rest)) == 1 and 1300.0 < rest[0] <= 1602.0
    await unlimited.write(stream_request(9, timeout_seconds=5.0))
    await engine.wait_begun(4)
    assert engine.begun[3][0].deadline == 1005.0
    limited.cancel()
    unlimited.cancel()


@pytest.mark.parametrize("seconds", [-1.0, -1e-300, float("nan"), float("inf"), float("-inf")])
async def test_a_timeout_that_is_no_finite_number_of_at_least_zero_is_refused(
    stub: Any, engine: PendingEngine, seconds: float
) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    await call.write(stream_request(1, timeout_seconds=seconds))
    error = (await call.read()).result.error
    assert (error.code, error.message[:15]) == (3, "timeout_seconds") and engine.begun == []
    await call.write(stream_request(2))
    await engine.wait_begun(1)  # the stream goes on
    call.cancel()


@pytest.mark.parametrize("place", ["begin", "to_image_result"])
async def test_a_fault_after_an_image_was_counted_ends_the_stream_at_once(
    stub: Any,
    engine: PendingEngine,
    calls: QueueingCallObserver,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    def fail(*arguments: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(*((engine, place) if place == "begin" else (stream_classify, place)), fail)
    call = stub.StreamClassify()
    await call.write(stream_request(1))
    if place != "begin":
        await engine.wait_begun(1)
        engine.complete(0)
    assert await asyncio.wait_for(call.code(), PATIENCE_SECONDS) is grpc.StatusCode.INTERNAL
    assert await code_of_ended_call(calls) == "INTERNAL"


async def test_an_image_that_arrives_during_the_stop_is_not_begun(engine: PendingEngine) -> None:
    class Late(SlowReader):
        async def read(self) -> Any:
            engine.closing.set()
            return stream_request(1)

    late = Late()
    stream = ClassifyStream(engine, late, late, None, WINDOW, lambda: 1000.0)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await asyncio.wait_for(stream.serve(), PATIENCE_SECONDS)
    assert engine.begun == []


async def test_an_invalid_image_has_its_error_and_the_stream_continues(
    stub: Any, engine: PendingEngine, calls: QueueingCallObserver
) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    await call.write(stream_request(1, model="unknown"))
    await call.write(stream_request(2, image=v1.Image(id="empty")))
    await call.write(stream_request(3))
    unknown, empty = await call.read(), await call.read()
    assert (unknown.correlation_id, unknown.result.error.code, unknown.model) == (1, 5, "")
    assert (empty.correlation_id, empty.result.error.code, empty.result.image_id) == (2, 3, "empty")
    assert unknown.result.error.details and empty.result.error.details
    await engine.wait_begun(2)
    engine.complete(1)
    assert (await call.read()).result.WhichOneof("outcome") == "classification"
    call.cancel()
    # gRPC may report a caller's cancellation as the end of its requests.
    assert await code_of_ended_call(calls) in {"CANCELLED", "OK"} and engine.cancelled == [], (
        "completed requests are not cancelled"
    )


async def test_an_image_is_answered_after_the_caller_has_half_closed_the_stream(
    stub: Any, engine: PendingEngine, calls: QueueingCallObserver
) -> None:
    call = stub.StreamClassify()
    await call.write(stream_request(1))
    await call.done_writing()
    await engine.wait_begun(1)
    assert engine.begun[0][0].deadline is None
    engine.complete(0)
    assert (await call.read()).correlation_id == 1
    assert await call.read() is grpc.aio.EOF and await code_of_ended_call(calls) == "OK"


async def test_an_empty_stream_ends_with_ok(stub: Any, calls: QueueingCallObserver) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF and await code_of_ended_call(calls) == "OK"


async def test_cancelling_the_stream_cancels_its_requests(
    stub: Any, engine: PendingEngine, calls: QueueingCallObserver
) -> None:
    call = stub.StreamClassify()
    for number in range(2):
        await call.write(stream_request(number))
    await engine.wait_begun(2)
    call.cancel()
    assert await code_of_ended_call(calls) == "CANCELLED"
    assert engine.cancelled == [state for _, state in engine.begun]


async def test_an_expired_stream_cancels_its_requests(
    stub: Any, engine: PendingEngine, calls: QueueingCallObserver
) -> None:
    call = stub.StreamClassify(timeout=2.0)
    await call.write(stream_request(1))
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # The caller's cancellation may arrive before the deadline on the server's clock.
    assert await code_of_ended_call(calls) in {"DEADLINE_EXCEEDED", "CANCELLED"}
    assert engine.cancelled == [state for _, state in engine.begun]


async def test_a_stopping_server_answers_the_images_that_it_read_and_ends_as_unavailable(
    stub: Any, engine: PendingEngine, calls: QueueingCallObserver
) -> None:
    busy, idle = stub.StreamClassify(), stub.StreamClassify()
    for number in range(2):
        await busy.write(stream_request(number))
    await engine.wait_begun(2)
    await idle.write(stream_request(9))
    await engine.wait_begun(3)
    engine.complete(2)
    assert await _answers(idle, 1) == [9]
    engine.closing.set()
    assert await asyncio.wait_for(idle.code(), PATIENCE_SECONDS) is grpc.StatusCode.UNAVAILABLE
    assert not busy.done(), "its images are not answered yet"
    for place in range(2):
        engine.complete(place)
    assert sorted(await _answers(busy, 2)) == [0, 1]
    assert await asyncio.wait_for(busy.code(), PATIENCE_SECONDS) is grpc.StatusCode.UNAVAILABLE
    assert "another" in await busy.details()
    assert [await code_of_ended_call(calls), await code_of_ended_call(calls)] == ["UNAVAILABLE"] * 2
    assert engine.cancelled == []


async def _answers(call: Any, count: int) -> list[int]:
    return [(await asyncio.wait_for(call.read(), PATIENCE_SECONDS)).correlation_id for _ in range(count)]


class SlowReader:
    """A stand-in for the call's context and messages: endless images, each write waits for the test's permission."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.may_write = asyncio.Semaphore(0)
        self._number = 0

    def peer(self) -> str:
        return "slow reader"

    def take_hold(self) -> None:
        return None

    async def read(self) -> Any:
        self._number += 1
        return stream_request(self._number)

    async def write(self, answer: v1.StreamClassifyResponse) -> None:
        await self.may_write.acquire()
        self.written.append(answer.correlation_id)


async def test_a_stream_whose_responses_are_not_read_stops_reading_images(engine: PendingEngine) -> None:
    context = SlowReader()
    stream = asyncio.create_task(ClassifyStream(engine, context, context, None, WINDOW, lambda: 1000.0).serve())  # type: ignore[arg-type]
    for written in range(5):
        await engine.wait_begun(WINDOW + written)
        engine.complete(written)
        for _ in range(50):  # no further request may begin in these turns
            await asyncio.sleep(0)
        assert len(engine.begun) == WINDOW + written and len(context.written) == written
        context.may_write.release()
    await engine.wait_begun(WINDOW + 5)
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert context.written == [1, 2, 3, 4, 5] and len(engine.cancelled) == WINDOW


async def test_an_image_without_content_counts_towards_the_window(engine: PendingEngine) -> None:
    class Empty(SlowReader):
        async def read(self) -> Any:
            self._number += 1
            return stream_request(self._number, image=v1.Image())

    context = Empty()
    stream = asyncio.create_task(ClassifyStream(engine, context, context, None, WINDOW, lambda: 1000.0).serve())  # type: ignore[arg-type]
    for _ in range(50):
        await asyncio.sleep(0)
    assert context._number == WINDOW and context.written == []
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)


async def test_an_exception_while_reading_ends_the_stream_with_that_exception(engine: PendingEngine) -> None:
    class Broken(SlowReader):
        async def read(self) -> Any:
            raise OSError("broken")

    broken = Broken()
    stream = ClassifyStream(engine, broken, broken, None, WINDOW, lambda: 1000.0)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(stream.serve(), PATIENCE_SECONDS)
