"""Calls on other threads that never keep the process from ending, unlike those of `ThreadPoolExecutor`.

Python joins a `ThreadPoolExecutor`'s threads before a process may end, and asyncio those of `asyncio.to_thread`. A call
that hangs, in a device's driver or on a network volume, would outlive the time that the server has to stop.
"""

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from linnaeus.server.process.thread_name import show_thread_name

Result = TypeVar("Result")


async def run_in_thread(name: str, work: Callable[[], Result]) -> Result:
    """Runs `work` on a new daemon thread and returns its result. Cancellation does not stop the thread.

    Args:
        name: name of the thread.
        work: the work.

    Raises:
        RuntimeError: if the process may have no more threads, or if `work` raised SystemExit, which would end the event
            loop.
        Exception: what `work` raised.
    """
    call: Future[Result] = Future()
    threading.Thread(target=_run, args=(call, partial(_run_named, work)), name=name, daemon=True).start()
    try:
        return await asyncio.wrap_future(call)
    except SystemExit as error:
        raise RuntimeError(f"a call on the thread {name} asked to end the process") from error


class DaemonExecutor:
    """Runs calls in order on one daemon thread. Any thread may call every method.

    Args:
        name: name of the thread.

    Raises:
        RuntimeError: at construction, if the process may have no more threads.
    """

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._is_shut_down = False
        self._thread = threading.Thread(target=self._run_all, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Returns a future of the call, which gets whatever `work` raises.

        Raises:
            RuntimeError: after `shutdown`.
        """
        call: Future[Result] = Future()
        with self._lock:
            if self._is_shut_down:
                raise RuntimeError("the executor is shut down")
            self._calls.put((call, work))
        return call

    def shutdown(self) -> None:
        """Waits for the calls that were submitted and ends the thread. May be called twice."""
        with self._lock:
            if not self._is_shut_down:
                self._is_shut_down = True
                self._calls.put(None)
        self._thread.join()

    def _run_all(self) -> None:
        show_thread_name()
        while (submitted := self._calls.get()) is not None:
            _run(*submitted)
            del submitted  # it may hold a batch's memory while the thread waits


def _run_named(work: Callable[[], Result]) -> Result:
    show_thread_name()
    return work()


def _run(call: "Future[Result]", work: Callable[[], Result]) -> None:
    """Fulfils a future; an exception of any kind goes to the one who waits for it."""
    if not call.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:
        call.set_exception(error)
        del call  # the error's traceback refers to this frame, which would keep the future and its memory
    else:
        call.set_result(result)
