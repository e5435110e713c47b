"""One stream of requests: order, errors, bounds and what is left behind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from linnaeus.kserve import grpc_service_pb2 as kserve
from linnaeus.server.errors import ModelNotFound
from linnaeus.server.rpc.kserve import stream_infer
from linnaeus.server.rpc.kserve.stream_infer import InferStream


class Caller:
    """Sends requests with the ids "0", "1", …; counts how many were taken."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    async def __aiter__(self) -> AsyncIterator[kserve.ModelInferRequest]:
        for number in range(self.count):
            self.taken += 1
            yield kserve.ModelInferRequest(id=str(number))


class Answers:
    """Answers a request when the test says so."""

    def __init__(self) -> None:
        self.begun: dict[str, asyncio.Event] = {}
        self.cancelled: list[str] = []

    async def infer(self, request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        allowed = self.begun.setdefault(request.id, asyncio.Event())
        try:
            await allowed.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request.id)
            raise
        return kserve.ModelInferResponse(id=request.id)


async def let_tasks_run() -> None:
    """Lets every task run until all of them wait; no time passes."""
    for _ in range(20):
        await asyncio.sleep(0)


async def echo(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
    return kserve.ModelInferResponse(id=request.id)


async def test_answers_come_in_the_order_of_requests_whichever_is_ready_first() -> None:
    answers = Answers()
    responses = InferStream(aiter(Caller(3)), answers.infer).responses()
    first = asyncio.create_task(anext(responses))
    await let_tasks_run()
    assert set(answers.begun) == {"0", "1", "2"}  # all are under way before the first is answered
    for number in ("2", "1"):
        answers.begun[number].set()
    await let_tasks_run()
    assert not first.done()
    answers.begun["0"].set()
    ids = [(await first).infer_response.id]
    ids += [response.infer_response.id async for response in responses]
    assert ids == ["0", "1", "2"]


async def test_every_answer_says_that_it_is_the_last_of_its_request() -> None:
    responses = [response async for response in InferStream(aiter(Caller(2)), echo).responses()]
    assert [each.infer_response.parameters["triton_final_response"].bool_param for each in responses] == [True, True]


async def test_a_request_that_fails_is_told_so_and_the_stream_lives_on() -> None:
    async def infer(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        if request.id == "1":
            raise ModelNotFound("x", "there is no model 'x'")
        return await echo(request)

    responses = [response async for response in InferStream(aiter(Caller(3)), infer).responses()]
    assert [response.error_message for response in responses] == ["", "there is no model 'x'", ""]
    assert [response.infer_response.id for response in responses] == ["0", "1", "2"]


async def test_a_fault_of_ours_ends_the_stream_and_what_was_in_flight() -> None:
    answers = Answers()

    async def infer(request: kserve.ModelInferRequest) -> kserve.ModelInferResponse:
        if request.id == "0":
            raise ZeroDivisionError
        return await answers.infer(request)

    with pytest.raises(ZeroDivisionError):
        _ = [response async for response in InferStream(aiter(Caller(3)), infer).responses()]
    await let_tasks_run()
    assert sorted(answers.cancelled) == sorted(answers.begun)


async def test_a_caller_who_does_not_read_holds_a_bounded_number_of_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_infer, "_MOST_IN_FLIGHT", 4)
    caller = Caller(1000)
    async with aclosing(InferStream(aiter(caller), echo).responses()) as responses:
        assert (await anext(responses)).infer_response.id == "0"
        for _ in range(50):
            await let_tasks_run()
        assert caller.taken == 5
        assert (await anext(responses)).infer_response.id == "1"
        await let_tasks_run()
        assert caller.taken == 6  # each that is read makes room for one


async def test_a_caller_who_cancels_leaves_nothing_in_flight() -> None:
    answers = Answers()
    before = asyncio.all_tasks()
    async with aclosing(InferStream(aiter(Caller(3)), answers.infer).responses()) as responses:
        waiting = asyncio.create_task(anext(responses))
        await let_tasks_run()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await let_tasks_run()
    assert sorted(answers.cancelled) == ["0", "1", "2"]
    assert asyncio.all_tasks() == before


async def test_a_connection_that_breaks_ends_the_stream_with_its_error() -> None:
    async def broken() -> AsyncIterator[kserve.ModelInferRequest]:
        yield kserve.ModelInferRequest(id="0")
        raise ConnectionResetError

    responses = InferStream(broken(), echo).responses()
    assert (await anext(responses)).infer_response.id == "0"
    with pytest.raises(ConnectionResetError):
        await anext(responses)
