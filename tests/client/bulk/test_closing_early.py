"""No call of `classify_many` is in flight once its caller has stopped taking outcomes."""

import asyncio
import threading

from tests.client.bulk.many_images import Counted

from linnaeus.client import AsyncClient
from linnaeus.client.sync.call_group import CallGroup


def test_closing_early_cancels_the_calls_in_flight(run, stub, make_answer, patience_seconds):
    waiting, gone = threading.Barrier(4), threading.Semaphore(0)

    def behaviour(request, context):
        if request.image.encoded != b"0":
            context.add_callback(gone.release)
            waiting.wait(patience_seconds)
            left.wait(patience_seconds)
        else:
            waiting.wait(patience_seconds)
        return make_answer(request)

    def nothing_is_in_flight():
        assert all(gone.acquire(timeout=patience_seconds) for _ in range(3))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("linnaeus-classify-many")]

    stub.on_classify, left, run.afterwards = behaviour, threading.Event(), nothing_is_in_flight
    outcomes, _ = run(Counted(100), take=1, concurrency=4)
    left.set()
    assert [outcome.index for outcome in outcomes] == [0]


async def test_a_loop_that_is_left_without_closing_cancels_too(stub, make_answer, patience_seconds):
    arrived, gone, left = threading.Semaphore(0), threading.Semaphore(0), threading.Event()

    def behaviour(request, context):
        if request.image.encoded != b"0":
            context.add_callback(gone.release)
            arrived.release()
            left.wait(patience_seconds)
        return make_answer(request)

    stub.on_classify = behaviour
    async with AsyncClient(stub.target) as client:
        async for _ in client.classify_many(Counted(100), concurrency=3):
            assert all([await asyncio.to_thread(arrived.acquire, timeout=patience_seconds) for _ in range(2)])
            break
        assert all([await asyncio.to_thread(gone.acquire, timeout=patience_seconds) for _ in range(2)])
    left.set()


class FakeCall:
    """A gRPC future that never ends and records whether it was cancelled."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def add_done_callback(self, _) -> None:
        pass


def test_a_call_that_begins_after_the_group_was_cancelled_is_cancelled():
    calls, before, after = CallGroup(), FakeCall(), FakeCall()
    calls.add(before)
    assert not before.cancelled
    calls.cancel()
    calls.add(after)
    assert before.cancelled and after.cancelled
