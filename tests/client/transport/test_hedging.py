"""A late call is sent a second time within the budget; the first answer wins and the other attempt is cancelled.

Which of two attempts reaches a server first depends on the machine. So the tests with a server hold whichever is first,
and the tests that tell the first attempt from the second have fake attempts, which they end themselves.
"""

import asyncio
import contextlib
import queue
import random
import threading

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.client import AsyncClient, Client, InvalidRequest, Unavailable
from linnaeus.client.aio.hedged_call import hedged_call as aio_hedged_call
from linnaeus.client.sync.hedged_call import hedged_call
from linnaeus.client.transport.hedging import HedgeCounts, Hedger, Hedging, LatencyWindow

CALLS = 400
STALLED_EVERY = 50  # 2 %
# One observation and a quantile near 0: every call is late almost at once, so tests need not wait.
EAGER = Hedging(budget=1, quantile=0.01, least_observations=1, window=1)


class Stalling:
    """Delays the first attempt of the chosen calls to arrive, for a time or until it is cancelled; counts attempts."""

    def __init__(self, answer, stalled, seconds) -> None:
        self._answer = answer
        self._stalled = stalled
        self._seconds = seconds
        self._lock = threading.Lock()
        self.attempts: dict[str, int] = {}
        self.given_up: queue.SimpleQueue[str] = queue.SimpleQueue()

    def __call__(self, request, context):
        name = request.image.id
        with self._lock:
            self.attempts[name] = self.attempts.get(name, 0) + 1
            first = self.attempts[name] == 1
        if first and self._stalled(int(name)):
            gone = threading.Event()
            if context.add_callback(gone.set):
                gone.wait(self._seconds)
            self.given_up.put(name)
        return self._answer(request)

    @property
    def extra(self) -> int:
        return sum(self.attempts.values()) - len(self.attempts)


@pytest.fixture
def stall(stub, make_answer):
    def script(stalled, seconds=None):
        stub.on_classify = Stalling(make_answer, stalled, seconds)
        return stub.on_classify

    return script


def rarely(number: int) -> bool:
    return number >= 100 and number % STALLED_EVERY == 0


STALLED = [str(number) for number in range(CALLS) if rarely(number)]


def check_that_stalls_were_passed(service, names, counts, patience_seconds) -> None:
    """The attempt that is held ends only by being cancelled, so a stalled call has its answer from the other one."""
    assert names == [str(number) for number in range(CALLS)]
    assert all(service.attempts[name] == 2 for name in STALLED)
    assert [service.given_up.get(timeout=patience_seconds) for _ in STALLED] == STALLED
    assert counts.calls == CALLS
    assert max(len(STALLED), service.extra) <= counts.hedged


def test_every_stalled_call_is_answered_by_its_other_attempt(stub, stall, patience_seconds):
    service = stall(rarely)
    with Client(stub.target, timeout_seconds=1000, hedging=Hedging(budget=1)) as client:
        names = [client.classify(b"a picture", image_id=str(number)).image_id for number in range(CALLS)]
        check_that_stalls_were_passed(service, names, client.hedges, patience_seconds)


async def test_the_asyncio_clients_stalled_calls_are_answered_by_their_other_attempts(stub, stall, patience_seconds):
    service = stall(rarely)
    async with AsyncClient(stub.target, timeout_seconds=1000, hedging=Hedging(budget=1)) as client:
        names = [(await client.classify(b"a picture", image_id=str(number))).image_id for number in range(CALLS)]
        await asyncio.to_thread(check_that_stalls_were_passed, service, names, client.hedges, patience_seconds)


def test_by_default_at_most_five_percent_of_the_calls_have_two_attempts(stub, stall):
    service = stall(rarely, seconds=0.5)
    with Client(stub.target, hedging=True) as client:
        for number in range(CALLS):
            client.classify(b"a picture", image_id=str(number))
        counts = client.hedges
    assert 0 < counts.hedged <= 0.05 * CALLS
    assert service.extra <= counts.hedged


def test_without_hedging_no_call_has_two_attempts(stub, stall):
    service = stall(lambda number: False)
    with Client(stub.target) as client:
        for number in range(50):
            client.classify(b"a picture", image_id=str(number))
        assert (service.extra, client.hedges) == (0, HedgeCounts())


def test_the_loser_is_cancelled_at_the_server(stub, stall, patience_seconds):
    service = stall(lambda number: number == 1)
    with Client(stub.target, timeout_seconds=1000, hedging=EAGER) as client:
        client.classify(b"a picture", image_id="0")
        client.classify(b"a picture", image_id="1")
        assert service.given_up.get(timeout=patience_seconds) == "1"
        assert (client.hedges.calls, client.hedges.hedged) == (2, 1)


async def test_the_asyncio_clients_loser_is_cancelled_at_the_server(stub, stall, patience_seconds):
    service = stall(lambda number: number == 1)
    async with AsyncClient(stub.target, timeout_seconds=1000, hedging=EAGER) as client:
        await client.classify(b"a picture", image_id="0")
        await client.classify(b"a picture", image_id="1")
        assert await asyncio.to_thread(service.given_up.get, timeout=patience_seconds) == "1"
        assert (client.hedges.calls, client.hedges.hedged) == (2, 1)


async def test_cancelling_a_hedged_task_cancels_both_attempts(stub, make_answer, patience_seconds):
    arrived, gone = threading.Semaphore(0), threading.Semaphore(0)

    def behaviour(request, context):
        if request.image.id == "stalls":
            ended = threading.Event()
            if context.add_callback(ended.set):
                arrived.release()
                ended.wait()
            gone.release()
        return make_answer(request)

    stub.on_classify = behaviour
    async with AsyncClient(stub.target, timeout_seconds=1000, hedging=EAGER) as client:
        await client.classify(b"a picture")
        task = asyncio.create_task(client.classify(b"a picture", image_id="stalls"))
        for _ in range(2):
            assert await asyncio.to_thread(arrived.acquire, timeout=patience_seconds)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        for _ in range(2):
            assert await asyncio.to_thread(gone.acquire, timeout=patience_seconds)


def test_a_failure_before_the_call_is_late_is_final(stub):
    stub.fail(grpc.StatusCode.INVALID_ARGUMENT, "No.")
    with Client(stub.target, hedging=True) as client:
        with pytest.raises(InvalidRequest, match="No"):
            client.classify(b"a picture")
        assert client.hedges == HedgeCounts(calls=1)


async def test_the_asyncio_client_fails_alike(stub):
    stub.fail(grpc.StatusCode.INVALID_ARGUMENT, "No.")
    async with AsyncClient(stub.target, hedging=True) as client:
        with pytest.raises(InvalidRequest, match="No"):
            await client.classify(b"a picture")


def test_an_unreachable_server_is_unavailable_with_hedging_too(silent_target):
    with Client(silent_target, hedging=True) as client, pytest.raises(Unavailable, match="no server answers"):
        client.classify(b"a picture")


class Attempt(grpc.RpcError):
    """A fake gRPC future that a test ends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cancelled = False
        self._code: grpc.StatusCode | None = None
        self._callbacks: list = []

    def add_done_callback(self, callback) -> None:
        self._callbacks.append(callback)
        if self._code is not None:
            callback(self)

    def end(self, code: grpc.StatusCode) -> "Attempt":
        self._code = code
        for callback in self._callbacks:
            callback(self)
        return self

    def code(self):
        return self._code

    def result(self):
        return self.name

    def cancel(self) -> None:
        self.cancelled = True


OK, FAILED, BROKEN = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL


def eager_hedger() -> Hedger:
    """Returns a hedger for which a call is late at once."""
    hedger = Hedger(EAGER)
    hedger.start_call("")
    hedger.record_answer("", 0.0, by_second=False)
    return hedger


def hedged_attempts(*ends: tuple[int, grpc.StatusCode]):
    """Makes a call whose first attempt is late; the attempts end in the order of `ends` once both have started."""
    hedger = eager_hedger()
    attempts: list[Attempt] = []

    def send() -> Attempt:
        attempts.append(Attempt(f"attempt {len(attempts) + 1}"))
        if len(attempts) == 2:
            for number, code in ends:
                attempts[number].end(code)
        return attempts[-1]

    try:
        return hedged_call(send, hedger, ""), hedger.counts, attempts
    except Attempt as failure:
        return failure, hedger.counts, attempts


async def asyncio_hedged_attempts(*ends: tuple[int, grpc.StatusCode]):
    """The same with the asyncio client's tasks; each attempt ends in a step of the event loop of its own."""
    hedger, loop = eager_hedger(), asyncio.get_running_loop()
    attempts: list[asyncio.Future[str]] = []
    steps = list(ends)

    def end_next() -> None:
        number, code = steps.pop(0)
        name = f"attempt {number + 1}"
        if not attempts[number].cancelled():
            attempts[number].set_result(name) if code is OK else attempts[number].set_exception(Attempt(name).end(code))
        if steps:
            attempts[number].add_done_callback(lambda _: loop.call_soon(end_next))

    def send() -> asyncio.Future[str]:
        attempts.append(loop.create_future())
        if len(attempts) == 2:
            loop.call_soon(end_next)
        return attempts[-1]

    try:
        return await aio_hedged_call(send, hedger, ""), hedger.counts, attempts
    except Attempt as failure:
        return failure, hedger.counts, attempts


FIRST_ANSWERS = pytest.mark.parametrize(
    ("ends", "answer", "won"),
    [
        ([(0, OK)], "attempt 1", 0),
        ([(1, OK)], "attempt 2", 1),
        ([(0, FAILED), (1, OK)], "attempt 2", 1),
        ([(1, FAILED), (0, OK)], "attempt 1", 0),
    ],
)
BOTH_FAIL = pytest.mark.parametrize("ends", [[(0, FAILED), (1, BROKEN)], [(1, BROKEN), (0, FAILED)]])


@FIRST_ANSWERS
def test_the_first_good_answer_wins_and_a_failure_waits_for_the_other(ends, answer, won):
    result, counts, attempts = hedged_attempts(*ends)
    assert (result, counts.hedged, counts.won) == (answer, 1, won)
    assert all(attempt.cancelled for attempt in attempts)


@FIRST_ANSWERS
async def test_the_asyncio_clients_first_good_answer_wins_alike(ends, answer, won):
    result, counts, attempts = await asyncio_hedged_attempts(*ends)
    assert (result, counts.hedged, counts.won) == (answer, 1, won)
    assert all(attempt.done() for attempt in attempts)


@BOTH_FAIL
def test_when_both_fail_the_error_is_that_of_the_first_attempt(ends):
    result, counts, _ = hedged_attempts(*ends)
    assert (result.name, result.code(), counts.won) == ("attempt 1", FAILED, 0)


@BOTH_FAIL
async def test_when_both_of_the_asyncio_clients_attempts_fail_the_error_is_that_of_the_first(ends):
    result, counts, _ = await asyncio_hedged_attempts(*ends)
    assert (result.name, result.code(), counts.won) == ("attempt 1", FAILED, 0)


def test_nothing_is_late_before_enough_is_known():
    hedger = Hedger(Hedging(least_observations=20))
    waits = []
    for _ in range(21):
        waits.append(hedger.start_call("lenet"))
        hedger.record_answer("lenet", 0.5, by_second=False)
    assert waits == [None] * 20 + [0.5]


def test_models_have_separate_latencies():
    hedger = Hedger(Hedging(least_observations=1))
    hedger.record_answer("lenet", 0.001, by_second=False)
    hedger.record_answer("resnet152", 2.0, by_second=False)
    assert (hedger.start_call("lenet"), hedger.start_call("resnet152"), hedger.start_call("alexnet")) == (
        0.001,
        2.0,
        None,
    )


def test_the_number_of_windows_is_bounded():
    hedger = Hedger(Hedging(least_observations=1))
    for number in range(1000):
        hedger.record_answer(f"model {number}", 1.0, by_second=False)
    assert sum(hedger.start_call(f"model {number}") is not None for number in range(1000)) <= 64


@given(st.lists(st.booleans(), max_size=2000), st.floats(0.01, 1))
def test_the_budget_holds_at_every_moment(late, budget):
    hedger, hedged = Hedger(Hedging(budget=budget)), 0
    for calls, is_late in enumerate(late, start=1):
        hedger.start_call("lenet")
        hedged += is_late and hedger.take_token()
        assert hedged <= budget * calls + 1e-6
        assert hedger.counts == HedgeCounts(calls=calls, hedged=hedged)


def test_twenty_calls_allow_one_second_attempt():
    hedger = Hedger(Hedging(budget=0.05))
    allowed = []
    for _ in range(40):
        hedger.start_call("lenet")
        allowed.append(hedger.take_token())
    assert [number for number, yes in enumerate(allowed, start=1) if yes] == [20, 40]


@settings(max_examples=50)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=200), st.integers(1, 50), st.floats(0.01, 0.99))
def test_a_quantile_is_that_of_the_last_latencies(observed, size, share):
    window = LatencyWindow(size)
    for seconds in observed:
        window.add(seconds)
    recent = sorted(observed[-size:])
    assert len(window) == len(recent)
    assert window.quantile(share) == recent[min(int(share * len(recent)), len(recent) - 1)]


def test_the_tail_shrinks_by_five_in_a_model_of_two_percent_stalls():
    """The policy alone, with simulated latencies: 5 ms a call, 200 ms for a stalled one."""
    rng, hedger, waited = random.Random(4), Hedger(Hedging()), []

    def latency() -> float:
        return 0.2 if rng.random() < 0.02 else rng.uniform(0.004, 0.006)

    for _ in range(20_000):
        first, late_after = latency(), hedger.start_call("lenet")
        hedges = late_after is not None and first > late_after and hedger.take_token()
        seconds = min(first, late_after + latency()) if hedges else first
        waited.append(seconds)
        hedger.record_answer("lenet", seconds, by_second=seconds < first)
    assert sorted(waited)[int(0.99 * len(waited))] <= 0.2 / 5
    assert hedger.counts.hedged <= 0.05 * len(waited)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        (dict(budget=0), "budget must be above 0"),
        (dict(budget=1.5), "budget must be above 0"),
        (dict(quantile=1), "quantile must be between"),
        (dict(quantile=0), "quantile must be between"),
        (dict(least_observations=0), "least_observations must be from 1"),
        (dict(window=10), "least_observations must be from 1 to the window of 10"),
    ],
)
def test_a_setting_out_of_range_is_refused(setting, sentence):
    with pytest.raises(ValueError, match=sentence):
        Hedging(**setting)


def test_hedging_is_a_bool_or_a_hedging_value():
    with pytest.raises(ValueError, match="hedging must be True, False or a Hedging value, not 0.05"):
        Client("localhost:8001", hedging=0.05)
