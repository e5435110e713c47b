"""InferStream: order of responses, errors, bounds, and no leftover tasks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import ModelNotFound, Unavailable
from linnaeus.server.rpc.kserve import stream_infer
from linnaeus.server.rpc.kserve.stream_infer import InferStream
from linnaeus.server.security.byte_budget import ByteBudget, Reservation


class RequestStream:
    """A stream of requests with the IDs "0", "1", …; counts those that were read."""

    def __init__(self, count: int, budget: ByteBudget | None = None) -> None:
        self.count = count
        self.read = 0
        self.budget = budget

    async def __aiter__(self) -> AsyncIterator[kserve.ModelInferRequest]:
        for number in range(self.count):
            self.read += 1
            yield kserve.ModelInferRequest(id=str(number))

    def take_hold(self) -> Reservation | None:
        return None if self.budget is None else self.budget.reserve_at_once("caller")


class HeldAnswers:
    """Answers each request after the test sets its event."""

    def __init__(self) -> None:
        self.begun: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []

    async def infer(self, request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        may_answer = self.begun.setdefault(request.id, asyncio.Event())
        try:
            await may_answer.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.id)
            raise
        return kserve.ModelInferResponse(id=request.id)


async def run_pending_tasks() -> None:
    """Runs the event loop until all tasks wait; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def echo(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
    return kserve.ModelInferResponse(id=request.id)


async def test_responses_come_in_the_order_of_requests() -> None:
    answers = HeldAnswers()
    responses = InferStream(RequestStream(3), answers.infer, asyncio.Event()).responses()
    first = asyncio.create_task(anext(responses))
    await run_pending_tasks()
    assert set(answers.begun) == {"0", "1", "2"}  # all have started before the first is answered
    for number in ("2", "1"):
        answers.begun[number].set()
    await run_pending_tasks()
    assert not first.done()
    answers.begun["0"].set()
    ids = [(await first).infer_response.id]
    ids += [response.infer_response.id async for response in responses]
    assert ids == ["0", "1", "2"]


async def test_every_response_is_marked_as_the_last_of_its_request() -> None:
    responses = [response async for response in InferStream(RequestStream(2), echo, asyncio.Event()).responses()]
    assert [each.infer_response.parameters["triton_final_response"].bool_param for each in responses] == [True, True]


async def test_a_failed_request_has_its_error_and_the_stream_continues() -> None:
    async def infer(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        if request.id == "1":
            raise ModelNotFound("x", "there is no model 'x'")
        return await echo(request)

    responses = [response async for response in InferStream(RequestStream(3), infer, asyncio.Event()).responses()]
    assert [response.error_message for response in responses] == ["", "there is no model 'x'", ""]
    assert [response.infer_response.id for response in responses] == ["0", "1", "2"]


async def test_an_unexpected_exception_ends_the_stream_and_cancels_its_requests() -> None:
    answers = HeldAnswers()

    async def infer(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        if request.id == "0":
            raise ZeroDivisionError
        return await answers.infer(request)

    with pytest.raises(ZeroDivisionError):
        _ = [response async for response in InferStream(RequestStream(3), infer, asyncio.Event()).responses()]
    await run_pending_tasks()
    assert sorted(answers.cancelled) == sorted(answers.begun)


async def test_a_stream_whose_responses_are_not_read_has_a_bounded_number_of_requests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_infer, "_MAX_IN_FLIGHT", 4)
    requests = RequestStream(1000)
    async with aclosing(InferStream(requests, echo, asyncio.Event()).responses()) as responses:
        assert (await anext(responses)).infer_response.id == "0"
        for _ in range(50):
            await run_pending_tasks()
        assert requests.read == 5
        assert (await anext(responses)).infer_response.id == "1"
        await run_pending_tasks()
        assert requests.read == 6  # each response that is read frees one slot


async def test_cancelling_the_stream_cancels_its_requests_and_tasks() -> None:
    answers = HeldAnswers()
    before = asyncio.all_tasks()
    async with aclosing(InferStream(RequestStream(3), answers.infer, asyncio.Event()).responses()) as responses:
        waiting = asyncio.create_task(anext(responses))
        await run_pending_tasks()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await run_pending_tasks()
    assert sorted(answers.cancelled) == ["0", "1", "2"]
    assert asyncio.all_tasks() == before


async def test_a_broken_connection_ends_the_stream_with_its_error() -> None:
    class Broken(RequestStream):
        async def __aiter__(self) -> AsyncIterator[kserve.ModelInferRequest]:
            yield kserve.ModelInferRequest(id="0")
            raise ConnectionResetError

    responses = InferStream(Broken(1), echo, asyncio.Event()).responses()
    assert (await anext(responses)).infer_response.id == "0"
    with pytest.raises(ConnectionResetError):
        await anext(responses)


async def test_a_stopping_server_answers_the_requests_that_it_read_and_ends_the_stream_as_unavailable() -> None:
    class Endless(RequestStream):
        async def __aiter__(self) -> AsyncIterator[kserve.ModelInferRequest]:
            yield kserve.ModelInferRequest(id="0")
            await asyncio.Event().wait()  # the caller keeps the stream open

    answers, closing = HeldAnswers(), asyncio.Event()
    responses = InferStream(Endless(1), answers.infer, closing).responses()
    first = asyncio.create_task(anext(responses))
    await run_pending_tasks()
    closing.set()
    await run_pending_tasks()
    assert not first.done()
    answers.begun["0"].set()
    assert (await first).infer_response.id == "0"
    with pytest.raises(Unavailable, match="another"):
        await asyncio.wait_for(anext(responses), 60)


async def test_a_request_holds_its_bytes_until_it_is_answered_or_the_stream_ends() -> None:
    budget, answers = ByteBudget(1, 3, 3), HeldAnswers()  # three messages of one byte
    async with aclosing(InferStream(RequestStream(3, budget), answers.infer, asyncio.Event()).responses()) as responses:
        waiting = asyncio.create_task(anext(responses))
        await run_pending_tasks()
        assert budget.reserve_at_once("other") is None
        answers.begun["2"].set()  # its response waits for the others
        await run_pending_tasks()
        assert budget.reserve_at_once("other") is not None and budget.reserve_at_once("other") is None
        waiting.cancel()
        await asyncio.wait({waiting})
    assert budget.reserve_at_once("other") and budget.reserve_at_once("other")


async def test_requests_that_have_not_begun_when_the_stream_ends_hold_nothing() -> None:
    budget = ByteBudget(1, 3, 3)
    requests = RequestStream(3, budget)
    waiting = asyncio.create_task(anext(InferStream(requests, echo, asyncio.Event()).responses()))
    await asyncio.sleep(0)  # it waits for its reader, which has not begun
    waiting.cancel()  # reaches it after the reader has read, and before a request begins
    await asyncio.wait({waiting})
    assert requests.read == 3
    assert all(budget.reserve_at_once("other") for _ in range(3))
