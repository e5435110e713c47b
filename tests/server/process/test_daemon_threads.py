"""Calls on daemon threads: every fault reaches the caller, and a call that hangs does not keep the process alive."""

import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from linnaeus.server.process.daemon_threads import DaemonExecutor, run_in_thread


def raising(error: BaseException) -> Callable[[], Any]:
    def work() -> Any:
        raise error

    return work


def refuse_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda thread: raising(RuntimeError("can't start new thread"))())


async def test_a_call_on_a_thread_returns_its_result() -> None:
    assert await run_in_thread("linnaeus-test", lambda: threading.current_thread().daemon)


async def test_a_call_on_a_thread_raises_what_its_work_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        await run_in_thread("linnaeus-test", raising(ZeroDivisionError()))


async def test_a_call_that_asks_to_end_the_process_does_not_end_the_event_loop() -> None:
    with pytest.raises(RuntimeError, match="linnaeus-test asked to end the process"):
        await run_in_thread("linnaeus-test", raising(SystemExit(3)))


async def test_a_call_without_a_thread_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_threads(monkeypatch)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        await run_in_thread("linnaeus-test", lambda: None)


def test_an_executor_runs_its_calls_in_order_on_one_daemon_thread() -> None:
    executor, threads = DaemonExecutor("linnaeus-test"), list[threading.Thread]()
    calls = [executor.submit(lambda: threads.append(threading.current_thread())) for _ in range(3)]
    for call in calls:
        call.result(60)
    executor.shutdown()
    assert len(set(threads)) == 1 and threads[0].daemon and threads[0].name == "linnaeus-test"
    assert not threads[0].is_alive()


@pytest.mark.parametrize("error", [ZeroDivisionError(), MemoryError(), SystemExit()], ids=lambda e: type(e).__name__)
def test_what_a_call_raises_reaches_its_caller_and_the_executor_goes_on(error: BaseException) -> None:
    executor = DaemonExecutor("linnaeus-test")
    with pytest.raises(type(error)):
        executor.submit(raising(error)).result(60)
    assert executor.submit(lambda: 5).result(60) == 5
    executor.shutdown()


def test_an_executor_that_is_shut_down_finishes_its_calls_and_takes_no_more() -> None:
    executor, opened = DaemonExecutor("linnaeus-test"), threading.Event()
    executor.submit(lambda: opened.wait(60))
    last = executor.submit(lambda: 5)
    opened.set()
    executor.shutdown()
    executor.shutdown()
    assert last.result(0) == 5
    with pytest.raises(RuntimeError, match="shut down"):
        executor.submit(lambda: 6)


def test_a_cancelled_call_is_not_run() -> None:
    executor, opened, ran = DaemonExecutor("linnaeus-test"), threading.Event(), list[int]()
    executor.submit(lambda: opened.wait(60))
    call = executor.submit(lambda: ran.append(1))
    assert call.cancel()
    opened.set()
    executor.shutdown()
    assert ran == []


def test_an_executor_without_a_thread_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_threads(monkeypatch)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        DaemonExecutor("linnaeus-test")


# Each call hangs for ever; `code` is the exit code that the process asks for.
HANGING = """
import asyncio, threading
from linnaeus.server.process.daemon_threads import DaemonExecutor, run_in_thread
from linnaeus.server.process.ending import end_process_if_threads_remain

async def main():
    hangs = threading.Event().wait
    DaemonExecutor("linnaeus-launcher").submit(hangs)
    call = asyncio.create_task(run_in_thread("linnaeus-load", hangs))
    await asyncio.sleep(0)
    call.cancel()

asyncio.run(main())
print("ending", flush=True)
end_process_if_threads_remain({code})
print("never printed", flush=True)
"""


@pytest.mark.parametrize("code", [0, 1])
def test_calls_that_hang_do_not_keep_the_process_from_ending_with_its_exit_code(code: int) -> None:
    command = [sys.executable, "-c", HANGING.replace("{code}", str(code))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (code, "ending\n")
    assert "the process ends beside threads that still run: linnaeus-launcher, linnaeus-load" in ended.stderr


def test_a_process_without_threads_that_hang_ends_as_usual() -> None:
    code = (
        "from linnaeus.server.process.ending import end_process_if_threads_remain\n"
        "end_process_if_threads_remain(1)\n"
        "print('as usual')"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "as usual\n"
