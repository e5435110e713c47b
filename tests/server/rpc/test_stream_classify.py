"""StreamClassify over a real connection: answers as they are ready, a bounded window, and nothing left behind."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from linnaeus.server.engine.request_state import RequestState
from linnaeus.server.errors import ModelNotFound, Unavailable
from linnaeus.server.requests.request import Classification, Priority, Request
from linnaeus.server.rpc.classifier import ClassifierServicer
from linnaeus.server.rpc.interceptor import InterceptedServer
from linnaeus.server.rpc.stream_classify import ClassifyStream
from linnaeus.server.runtime.model import Ranking
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1 import classifier_pb2_grpc as v1_grpc

WINDOW = 3
PATIENCE_SECONDS = 60
ANSWER = Classification(Ranking([0], [1.0]), ["cat"], "m", 3, 1, 0.0, 0.0, 0.0)


class RecordingCallObserver:
    """Hears how calls end."""

    def __init__(self) -> None:
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    def call_started(self, method: Any) -> None:
        pass

    def call_handled(self, method: Any, code: str, seconds: float) -> None:
        self.ended.put_nowait(code)


class PendingEngine:
    """Stands in for the engine: keeps what is begun until the test settles it."""

    def __init__(self) -> None:
        self.closing = asyncio.Event()
        self.begun: list[tuple[Request, RequestState]] = []
        self.left: list[RequestState] = []
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
        self.left.append(state)

    def complete(self, place: int) -> None:
        self.begun[place][1].set_result(ANSWER)  # type: ignore[arg-type]  # `complete` passes on whatever it is

    async def wait_begun(self, count: int) -> None:
        while len(self.begun) < count:
            await asyncio.sleep(0)


@pytest.fixture
def calls() -> RecordingCallObserver:
    return RecordingCallObserver()


@pytest.fixture
async def held() -> PendingEngine:
    return PendingEngine()


@pytest.fixture
async def stub(held: PendingEngine, calls: RecordingCallObserver) -> AsyncIterator[Any]:
    server = grpc.aio.server()
    servicer = ClassifierServicer(held, v1.ServerLimits(stream_window=WINDOW), "0", lambda: 1000.0)  # type: ignore[arg-type]
    v1_grpc.add_ClassifierServiceServicer_to_server(servicer, InterceptedServer(server, calls))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield v1_grpc.ClassifierServiceStub(channel)
    await server.stop(None)
    while [task for task in asyncio.all_tasks() if "Stream." in repr(task)]:
        await asyncio.sleep(0)  # a task that outlives its stream ends with the test's own time limit


def asking(correlation_id: int, **fields: Any) -> v1.StreamClassifyRequest:
    image = v1.Image(encoded=b"x", id=f"picture {correlation_id}")
    return v1.StreamClassifyRequest(correlation_id=correlation_id, **{"image": image, "model": "m"} | fields)


async def ended(calls: RecordingCallObserver) -> str:
    return await asyncio.wait_for(calls.ended.get(), PATIENCE_SECONDS)


async def test_answers_come_as_they_are_ready_with_their_correlation_and_image_ids(
    stub: Any, held: PendingEngine
) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    for number in (7, 8):
        await call.write(asking(number, top_k=2, version="3", priority=v1.PRIORITY_LOW))
    await held.wait_begun(2)
    held.complete(1)
    answer = await call.read()
    assert (answer.correlation_id, answer.result.image_id, answer.model, answer.version) == (8, "picture 8", "m", 3)
    assert answer.result.classification.classes[0].label == "cat"
    held.complete(0)
    assert (await call.read()).correlation_id == 7
    request = held.begun[0][0]
    assert (request.top_k, request.version, request.priority) == (2, "3", Priority.LOW)
    assert request.deadline is not None and 1000.0 < request.deadline <= 1001.0 + PATIENCE_SECONDS and request.caller
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF and await call.code() is grpc.StatusCode.OK


async def test_an_image_may_have_less_time_than_its_stream_but_not_more(stub: Any, held: PendingEngine) -> None:
    limited, endless = stub.StreamClassify(timeout=600), stub.StreamClassify()
    for place, seconds in enumerate((5.0, 0.0, 9000.0, -1.0, float("nan"))):
        await limited.write(asking(place, timeout_seconds=seconds))
        await held.wait_begun(place + 1)
        held.complete(place)
        assert (await limited.read()).correlation_id == place
    own, *rest = [request.deadline or 0.0 for request, _ in held.begun]
    assert own == 1005.0 and len(set(rest)) == 1 and 1300.0 < rest[0] <= 1602.0
    await endless.write(asking(9, timeout_seconds=5.0))
    await held.wait_begun(6)
    assert held.begun[5][0].deadline == 1005.0
    limited.cancel()
    endless.cancel()


async def test_what_comes_once_the_server_stops_is_left_to_another_one(held: PendingEngine) -> None:
    class Late(SlowReader):
        async def read(self) -> Any:
            held.closing.set()
            return asking(1)

    stream = ClassifyStream(held, Late(), None, WINDOW, lambda: 1000.0)  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await asyncio.wait_for(stream.serve(), PATIENCE_SECONDS)
    assert held.begun == []


async def test_an_image_at_fault_has_its_error_and_the_stream_goes_on(
    stub: Any, held: PendingEngine, calls: RecordingCallObserver
) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    await call.write(asking(1, model="unknown"))
    await call.write(asking(2, image=v1.Image(id="empty")))
    await call.write(asking(3))
    unknown, empty = await call.read(), await call.read()
    assert (unknown.correlation_id, unknown.result.error.code, unknown.model) == (1, 5, "")
    assert (empty.correlation_id, empty.result.error.code, empty.result.image_id) == (2, 3, "empty")
    assert unknown.result.error.details and empty.result.error.details
    await held.wait_begun(2)
    held.complete(1)
    assert (await call.read()).result.WhichOneof("outcome") == "classification"
    call.cancel()
    # gRPC may tell of a cancelled caller as one that has sent its last image.
    assert await ended(calls) in {"CANCELLED", "OK"} and held.left == [], "what is over is kept no longer"


async def test_the_callers_last_image_is_answered_after_it_has_closed_its_side(
    stub: Any, held: PendingEngine, calls: RecordingCallObserver
) -> None:
    call = stub.StreamClassify()
    await call.write(asking(1))
    await call.done_writing()
    await held.wait_begun(1)
    assert held.begun[0][0].deadline is None
    held.complete(0)
    assert (await call.read()).correlation_id == 1
    assert await call.read() is grpc.aio.EOF and await ended(calls) == "OK"


async def test_a_stream_of_nothing_ends_well(stub: Any, calls: RecordingCallObserver) -> None:
    call = stub.StreamClassify(timeout=PATIENCE_SECONDS)
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF and await ended(calls) == "OK"


async def test_a_caller_that_cancels_takes_its_images_along(
    stub: Any, held: PendingEngine, calls: RecordingCallObserver
) -> None:
    call = stub.StreamClassify()
    for number in range(2):
        await call.write(asking(number))
    await held.wait_begun(2)
    call.cancel()
    assert await ended(calls) == "CANCELLED"
    assert held.left == [state for _, state in held.begun]


async def test_a_stream_that_runs_out_of_time_leaves_nothing(
    stub: Any, held: PendingEngine, calls: RecordingCallObserver
) -> None:
    call = stub.StreamClassify(timeout=2.0)
    await call.write(asking(1))
    assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    # The caller's word that it gave up may come before the server's own clock says so.
    assert await ended(calls) in {"DEADLINE_EXCEEDED", "CANCELLED"}
    assert held.left == [state for _, state in held.begun]


async def test_a_server_that_stops_answers_what_it_read_and_sends_the_caller_away(
    stub: Any, held: PendingEngine, calls: RecordingCallObserver
) -> None:
    busy, idle = stub.StreamClassify(), stub.StreamClassify()
    for number in range(2):
        await busy.write(asking(number))
    await held.wait_begun(2)
    await idle.write(asking(9))
    await held.wait_begun(3)
    held.complete(2)
    assert await _answers(idle, 1) == [9]
    held.closing.set()
    assert await asyncio.wait_for(idle.code(), PATIENCE_SECONDS) is grpc.StatusCode.UNAVAILABLE
    assert not busy.done(), "its answers are still to come"
    for place in range(2):
        held.complete(place)
    assert sorted(await _answers(busy, 2)) == [0, 1]
    assert await asyncio.wait_for(busy.code(), PATIENCE_SECONDS) is grpc.StatusCode.UNAVAILABLE
    assert "another" in await busy.details()
    assert [await ended(calls), await ended(calls)] == ["UNAVAILABLE"] * 2
    assert held.left == []


async def _answers(call: Any, count: int) -> list[int]:
    return [(await asyncio.wait_for(call.read(), PATIENCE_SECONDS)).correlation_id for _ in range(count)]


class SlowReader:
    """A caller's side: images without end, and an answer is taken when the test says so."""

    def __init__(self) -> None:
        self.taken: list[int] = []
        self.takes = asyncio.Semaphore(0)
        self._number = 0

    def peer(self) -> str:
        return "deaf"

    async def read(self) -> Any:
        self._number += 1
        return asking(self._number)

    async def write(self, answer: v1.StreamClassifyResponse) -> None:
        await self.takes.acquire()
        self.taken.append(answer.correlation_id)


async def test_a_caller_that_does_not_read_is_not_read_either(held: PendingEngine) -> None:
    deaf = SlowReader()
    stream = asyncio.create_task(ClassifyStream(held, deaf, None, WINDOW, lambda: 1000.0).serve())  # type: ignore[arg-type]
    for taken in range(5):
        await held.wait_begun(WINDOW + taken)
        held.complete(taken)
        for _ in range(50):  # turns in which nothing more may be begun
            await asyncio.sleep(0)
        assert len(held.begun) == WINDOW + taken and len(deaf.taken) == taken
        deaf.takes.release()
    await held.wait_begun(WINDOW + 5)
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)
    assert deaf.taken == [1, 2, 3, 4, 5] and len(held.left) == WINDOW


async def test_an_image_without_content_takes_a_place_like_any_other(held: PendingEngine) -> None:
    class Empty(SlowReader):
        async def read(self) -> Any:
            self._number += 1
            return asking(self._number, image=v1.Image())

    empty = Empty()
    stream = asyncio.create_task(ClassifyStream(held, empty, None, WINDOW, lambda: 1000.0).serve())  # type: ignore[arg-type]
    for _ in range(50):
        await asyncio.sleep(0)
    assert empty._number == WINDOW and empty.taken == []
    stream.cancel()
    await asyncio.gather(stream, return_exceptions=True)


async def test_a_fault_while_reading_ends_the_stream_with_that_fault(held: PendingEngine) -> None:
    class Broken(SlowReader):
        async def read(self) -> Any:
            raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await asyncio.wait_for(ClassifyStream(held, Broken(), None, WINDOW, lambda: 1000.0).serve(), PATIENCE_SECONDS)  # type: ignore[arg-type]
