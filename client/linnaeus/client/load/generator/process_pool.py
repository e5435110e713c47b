"""The generator processes of one measurement, as the parent process controls them."""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from linnaeus.client.load.generator import generator_process
from linnaeus.client.load.generator.process_messages import (
    CancelAll,
    Finished,
    ProcessFailed,
    Ready,
    Start,
    Stop,
    Update,
)
from linnaeus.client.load.plan import Plan

# From the last `Ready` to the first call: the time for `Start` to reach all processes.
_START_SECONDS = 0.2
_END_SECONDS = 5.0

ProcessMessage = Ready | Update | Finished | ProcessFailed


class LoadFailed(RuntimeError):
    """A generator process failed; the message says why, in one sentence."""


class ProcessPool:
    """Spawned processes with one share of the plan each; a context manager that ends them, for one thread.

    Spawned, not forked: gRPC's threads do not survive a fork. Even a single generator has a process of its own, so that
    the parent's output does not disturb the measurement.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._processes: dict[Connection, BaseProcess] = {}
        self._running: set[Connection] = set()

    def __enter__(self) -> "ProcessPool":
        context = multiprocessing.get_context("spawn")
        for index in range(self._plan.process_count):
            parent_end, child_end = context.Pipe()
            arguments = (child_end, self._plan, index, self._plan.process_count)
            process = context.Process(target=generator_process.main, args=arguments, daemon=True)
            process.start()
            child_end.close()
            self._processes[parent_end] = process
        self._running = set(self._processes)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self._processes.items():
            process.join(0.0 if pipe in self._running else _END_SECONDS)
            if process.is_alive():
                process.terminate()
                process.join()
            pipe.close()

    @property
    def is_done(self) -> bool:
        """Whether every process has finished."""
        return not self._running

    def receive(self, timeout_seconds: float) -> Iterator[tuple[Connection, ProcessMessage]]:
        """Yields the messages of the processes; waits for the first one at most for the timeout.

        Raises:
            LoadFailed: if a process failed or died.
        """
        for pipe in wait(list(self._running), timeout=timeout_seconds):
            if isinstance(pipe, Connection):
                yield pipe, self._receive_from(pipe)

    def start(self) -> float:
        """Starts all processes at once.

        Returns:
            The start of the measurement, after the warm-up, on `time.monotonic`.
        """
        at = time.monotonic() + _START_SECONDS + self._plan.warmup_seconds
        self._send(Start(at))
        return at

    def stop(self) -> None:
        """Makes all processes stop sending."""
        self._send(Stop())

    def cancel_all(self) -> None:
        """Makes all processes cancel their calls in flight."""
        self._send(CancelAll())

    def _receive_from(self, pipe: Connection) -> ProcessMessage:
        try:
            message: ProcessMessage = pipe.recv()
        except (EOFError, OSError):
            raise LoadFailed(self._death_reason(pipe)) from None
        if isinstance(message, ProcessFailed):
            raise LoadFailed(f"a process of the tester could not go on: {message.reason}")
        if isinstance(message, Finished):
            self._running.discard(pipe)
        return message

    def _death_reason(self, pipe: Connection) -> str:
        process = self._processes[pipe]
        process.join(_END_SECONDS)
        return f"a process of the tester died with exit code {process.exitcode} before it had finished"

    def _send(self, message: Start | Stop | CancelAll) -> None:
        for pipe in self._running:
            try:
                pipe.send(message)
            except OSError:  # the process died: `receive` will raise
                continue
