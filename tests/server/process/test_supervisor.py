"""Whatever escapes from a thread, a callback or a task is logged with a reference and counted; the part goes on."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from linnaeus.server.errors import ServerFailed
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervised_thread import SupervisedThread
from linnaeus.server.process.supervisor import RestartLimit, Supervisor

ESCAPES = [ZeroDivisionError("secret"), MemoryError("secret"), SystemExit("secret"), KeyboardInterrupt("secret")]


class Recorder:
    """A supervisor's counts and ends; its clock is set by the test."""

    def __init__(self) -> None:
        self.now = 0.0
        self.counted: list[str] = []
        self.ended: list[str] = []
        self.supervisor = Supervisor(self.counted.append, self.ended.append, lambda: self.now)


class FailsFirst:
    """Work that raises the given errors in turn, and then returns."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def run_thread(recorder: Recorder, work: Any, **options: Any) -> list[str]:
    """Runs a supervised thread to its end; returns what it called at the end."""
    ends: list[str] = []
    options = {"give_up": lambda: ends.append("given up"), "on_end": lambda: ends.append("ended")} | options
    thread = SupervisedThread("linnaeus-test", "part", work, recorder.supervisor, **options)
    assert thread.daemon, "a thread that hangs must not outlive the server"
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    return ends


@pytest.mark.parametrize("error", ESCAPES, ids=lambda error: type(error).__name__)
def test_a_thread_whose_work_raises_is_logged_counted_and_restarted(
    recorder: Recorder, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    work = FailsFirst(error)
    assert run_thread(recorder, work) == ["ended"]
    assert work.calls == 2 and recorder.counted == ["part"] and recorder.ended == []
    (record,) = caplog.records
    assert record.getMessage().startswith("part failed [") and "secret" in caplog.text


def test_a_thread_that_keeps_failing_is_given_up_once(recorder: Recorder) -> None:
    work = FailsFirst(*[ZeroDivisionError()] * 100)
    assert run_thread(recorder, work) == ["given up", "ended"]
    assert work.calls == 4 and recorder.counted == ["part"] * 4


def test_a_thread_that_fails_now_and_then_is_never_given_up(recorder: Recorder) -> None:
    work = FailsFirst(*[ZeroDivisionError()] * 20)

    def seldom() -> None:
        recorder.now += 4.0
        work()

    assert run_thread(recorder, seldom) == ["ended"] and work.calls == 21


@pytest.mark.parametrize("place", ["prepare", "on_end", "give_up"])
def test_a_fault_beside_the_work_is_reported_too(recorder: Recorder, place: str) -> None:
    faults = 4 if place == "give_up" else 0
    work = FailsFirst(*[ZeroDivisionError()] * faults)
    run_thread(recorder, work, **{place: FailsFirst(SystemExit())})
    assert recorder.counted == ["part"] * (faults + 1) and work.calls == max(faults, 1)


def test_a_report_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    def fail(part: str) -> None:
        raise MemoryError

    assert Supervisor(fail).report("part", ZeroDivisionError()) in caplog.text


def test_the_reference_of_a_report_is_in_the_log(recorder: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    reference = recorder.supervisor.report("some_part", ZeroDivisionError(), "loading m/1")
    assert [record.getMessage() for record in caplog.records] == [f"loading m/1 failed [{reference}]"]


def test_a_restart_limit_forgets_old_restarts() -> None:
    now = [0.0]
    limit = RestartLimit(lambda: now[0])
    assert [limit.allows_restart() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 10.0
    assert limit.allows_restart()


def test_a_server_ended_by_its_supervisor_reports_why(recorder: Recorder) -> None:
    recorder.supervisor.raise_if_ended()
    recorder.supervisor.end_server("some_part")
    assert recorder.ended == ["some_part"]
    with pytest.raises(ServerFailed, match="some part kept failing"):
        recorder.supervisor.raise_if_ended()


@pytest.mark.parametrize("error", ESCAPES[:3], ids=lambda error: type(error).__name__)
async def test_a_task_that_raises_is_reported_and_begun_again(recorder: Recorder, error: BaseException) -> None:
    work, again = FailsFirst(error), asyncio.Event()

    async def serve() -> None:
        work()
        again.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(keep_running("part", serve, recorder.supervisor))
    await asyncio.wait_for(again.wait(), 60)
    assert recorder.counted == ["part"] and not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert recorder.counted == ["part"], "being cancelled is no fault"


async def test_a_task_that_keeps_failing_ends_the_server(recorder: Recorder) -> None:
    async def serve() -> None:
        raise ZeroDivisionError

    await asyncio.wait_for(keep_running("part", serve, recorder.supervisor), 60)
    assert recorder.counted == ["part"] * 4 and recorder.ended == ["part"]


@pytest.fixture
def watched(recorder: Recorder) -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop of a process that the supervisor watches."""
    loop, hook = asyncio.new_event_loop(), threading.excepthook
    recorder.supervisor.watch_process(loop)
    yield loop
    threading.excepthook = hook
    loop.close()


@pytest.mark.parametrize("error", ESCAPES, ids=lambda error: type(error).__name__)
def test_what_ends_a_thread_of_a_library_is_reported(
    recorder: Recorder, watched: asyncio.AbstractEventLoop, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    thread = threading.Thread(target=FailsFirst(error))
    thread.start()
    thread.join(60)
    assert recorder.counted == ["other_thread"] and "secret" in caplog.text


def test_what_a_callback_of_the_event_loop_raises_is_reported_and_the_loop_goes_on(
    recorder: Recorder, watched: asyncio.AbstractEventLoop
) -> None:
    watched.call_soon(FailsFirst(ZeroDivisionError()))
    watched.run_until_complete(asyncio.sleep(0))
    assert recorder.counted == ["event_loop"]


def test_a_complaint_of_the_event_loop_without_an_error_is_logged(
    recorder: Recorder, watched: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    watched.call_exception_handler({"message": "unusual"})
    assert recorder.counted == [] and "unusual" in caplog.text
