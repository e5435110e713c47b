"""Threads of the server that serve until their work ends: a fault is reported and the work begins again."""

import threading
from collections.abc import Callable

from linnaeus.server.process.supervisor import RestartLimit, Supervisor
from linnaeus.server.process.thread_name import show_thread_name


def _no_op() -> None:
    """Does nothing."""


class SupervisedThread(threading.Thread):
    """A daemon thread that cannot end quietly.

    If `work` raises, whatever it raises, the fault is reported and `work` is called again; if it keeps failing,
    `give_up` is called once and the thread ends. `start` raises RuntimeError if the process may have no more threads.

    Args:
        name: name of the thread.
        part: the part of the server, as reports name it.
        work: returns once the thread is to end; may be called again after it raised.
        supervisor: receives the faults.
        give_up: takes the thread's part out of service, or ends the server.
        prepare: called once before `work`; a fault there is reported only.
        on_end: called when the thread ends, however it does.
    """

    def __init__(
        self,
        name: str,
        part: str,
        work: Callable[[], None],
        supervisor: Supervisor,
        give_up: Callable[[], object],
        prepare: Callable[[], object] = _no_op,
        on_end: Callable[[], object] = _no_op,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._part = part
        self._work = work
        self._supervisor = supervisor
        self._give_up = give_up
        self._prepare = prepare
        self._on_end = on_end

    def run(self) -> None:
        """Calls the work until it returns."""
        show_thread_name()
        restarts = RestartLimit(self._supervisor.clock)
        self._succeeds(self._prepare)
        while not self._succeeds(self._work):
            if not restarts.allows_restart():
                self._succeeds(self._give_up)
                break
        self._succeeds(self._on_end)

    def _succeeds(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except BaseException as error:  # also SystemExit, by which Python would end the thread without a word
            self._supervisor.report(self._part, error)
            return False
        return True
