"""How many retries follow refusals, and when: the budget of one client, in simulated time."""

import asyncio
import threading

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnaeus.client import AsyncClient, Client, Overloaded
from linnaeus.client.aio.call_group import CallGroup as AsyncCallGroup
from linnaeus.client.sync.call_group import CallGroup
from linnaeus.client.transport.deadlines import Deadline
from linnaeus.client.transport.hedging import Hedging
from linnaeus.client.transport.refusals import MAX_SENDS, RetryBudget, backoff_seconds

HOUR = Deadline(3600, 3600, lambda: 0.0)


@given(st.floats(0, 100))
def test_no_retry_comes_before_the_servers_wait_is_over_nor_long_after(wait_seconds):
    delay_seconds = RetryBudget().delay_seconds(wait_seconds, sends=1, deadline=HOUR)
    assert wait_seconds <= delay_seconds <= 1.25 * wait_seconds


def test_callers_that_were_refused_together_do_not_come_back_together():
    budget = RetryBudget()
    assert len({budget.delay_seconds(1.0, sends=1, deadline=HOUR) for _ in range(100)}) > 90


@pytest.mark.parametrize("wait_seconds", [2.0, 1.9, 3600.0])
def test_a_retry_after_the_deadline_is_not_made(wait_seconds):
    deadline = Deadline(2, 2, lambda: 0.0)
    assert RetryBudget(jitter=lambda: 1.1).delay_seconds(wait_seconds, sends=1, deadline=deadline) is None


def test_a_request_is_sent_four_times_at_most():
    budget = RetryBudget()
    delays = [budget.delay_seconds(0.0, sends=sends, deadline=HOUR) for sends in range(1, 7)]
    assert [delay is not None for delay in delays] == [True] * (MAX_SENDS - 1) + [False] * 3


@given(st.lists(st.booleans(), max_size=3000))
def test_all_retries_are_at_most_500_and_a_tenth_of_the_answers(is_answer):
    budget, retries, answers = RetryBudget(), 0, 0
    for answered in is_answer:
        if answered:
            budget.record_answer()
            answers += 1
        else:
            retries += budget.delay_seconds(0.0, sends=1, deadline=HOUR) is not None
        assert retries <= 500 + answers / 10


def test_a_spent_budget_ends_the_retries_of_every_kind_of_call(stub):
    def refuse(request, context):
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "0"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    stub.on_classify = stub.on_batch = refuse
    with Client(stub.target) as client:
        outcomes = [*client.classify_many([b"x"] * 200), *client.classify_batch([b"x"] * 200)]
    assert all(isinstance(outcome.error, Overloaded) for outcome in outcomes)
    sent = sum(len(request.images) if hasattr(request, "images") else 1 for request in stub.requests)
    assert sent <= len(outcomes) + 500 + 1  # one call asks for the server's limits


def test_the_backoff_doubles_up_to_a_second():
    for failures, seconds in enumerate((0.0, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0)):
        assert 0.79 * seconds <= backoff_seconds(failures) <= 1.21 * seconds


@pytest.fixture
def refuse_for_long(stub):
    """Makes the server refuse images with a wait of ten minutes, unless they are b"good"."""
    answering = stub.on_classify

    def refuse(request, context):
        if request.image.encoded == b"good":
            return answering(request, context)
        context.set_trailing_metadata((("grpc-retry-pushback-ms", "600000"),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    stub.on_classify = refuse


@pytest.fixture
def waiting(request, monkeypatch) -> threading.Event:
    """Is set once a call of either client waits before its retry."""
    event, pause = threading.Event(), request.param.pause

    def noticed(self, seconds):
        event.set()
        return pause(self, seconds)

    monkeypatch.setattr(request.param, "pause", noticed)
    return event


@pytest.mark.parametrize("waiting", [CallGroup], indirect=True)
def test_closing_the_client_ends_the_wait_before_a_retry(stub, refuse_for_long, waiting, patience_seconds):
    with Client(stub.target, timeout_seconds=3600) as client:
        threading.Thread(target=lambda: (waiting.wait(patience_seconds), client.close())).start()
        with pytest.raises(Overloaded):
            client.classify(b"x")
    assert len(stub.images) == 1


@pytest.mark.parametrize("waiting", [AsyncCallGroup], indirect=True)
async def test_closing_the_asyncio_client_ends_the_wait_too(stub, refuse_for_long, waiting, patience_seconds):
    async with AsyncClient(stub.target, timeout_seconds=3600) as client:
        call = asyncio.create_task(client.classify(b"x"))
        assert await asyncio.to_thread(waiting.wait, patience_seconds)
        await client.close()
        with pytest.raises(Overloaded):
            await asyncio.wait_for(call, patience_seconds)
    assert len(stub.images) == 1


@pytest.mark.parametrize("waiting", [CallGroup], indirect=True)
def test_leaving_classify_many_ends_the_waits_before_retries(stub, refuse_for_long, waiting, patience_seconds):
    with Client(stub.target, timeout_seconds=3600) as client:
        outcomes = client.classify_many([b"good", b"x"], concurrency=2)
        assert next(outcomes).ok
        assert waiting.wait(patience_seconds)
        outcomes.close()  # returns only when its threads have ended
    assert len(stub.images) == 2


def test_a_refused_call_is_sent_again_without_a_second_attempt(stub, make_answer):
    """A server that refuses calls has no use for more of them."""
    refusals = iter([True])

    def refuse_once(request, context):
        if next(refusals, False):
            context.set_trailing_metadata((("grpc-retry-pushback-ms", "1"),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")
        return make_answer(request)

    stub.on_classify = refuse_once
    with Client(stub.target, hedging=Hedging(budget=1)) as client:
        client.classify(b"x")
        assert (client.hedges.calls, client.hedges.hedged, len(stub.images)) == (1, 0, 2)
