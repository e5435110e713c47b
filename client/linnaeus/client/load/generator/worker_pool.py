"""The sending processes of one spell, seen from the parent: started together, listened to, stopped together.

It must not know what becomes of a spell, nor how a call is sent.
"""

import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from linnaeus.client.load.generator import worker_process as worker
from linnaeus.client.load.generator.records import Broken, Drop, Finished, News, Ready, Start, Stop
from linnaeus.client.load.plan import Plan

# Between the last process's word that it is ready and the first call: for the word to start to reach them all.
_START_SECONDS = 0.2
_END_SECONDS = 5.0

# Whatever a process says.
Word = Ready | News | Finished | Broken


class LoadFailed(RuntimeError):
    """A process of the tester could not go on; the message says why, in one sentence."""


class Fleet:
    """Spawned processes, one share of the plan each; to be used in one thread, as a context manager that ends them.

    Spawned, not forked: gRPC's threads do not survive a fork. One is started even where one is enough, so that what
    the parent draws never disturbs the measuring.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._members: dict[Connection, BaseProcess] = {}
        self._waiting: set[Connection] = set()

    def __enter__(self) -> "Fleet":
        context = multiprocessing.get_context("spawn")
        for index in range(self._plan.process_count):
            ours, theirs = context.Pipe()
            arguments = (theirs, self._plan, index, self._plan.process_count)
            process = context.Process(target=worker.main, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self._members[ours] = process
        self._waiting = set(self._members)
        return self

    def __exit__(self, *_: object) -> None:
        for pipe, process in self._members.items():
            process.join(0.0 if pipe in self._waiting else _END_SECONDS)
            if process.is_alive():
                process.terminate()
                process.join()
            pipe.close()

    @property
    def is_done(self) -> bool:
        """Whether every process has said its last word."""
        return not self._waiting

    def words(self, seconds: float) -> Iterator[tuple[Connection, Word]]:
        """What processes say, waiting at most so long for the first word.

        Raises:
            LoadFailed: a process broke or died.
        """
        for pipe in wait(list(self._waiting), timeout=seconds):
            if isinstance(pipe, Connection):
                yield pipe, self._hear(pipe)

    def start(self) -> float:
        """Lets all begin together.

        Returns:
            The moment on `time.monotonic` at which measuring begins, after the warm-up.
        """
        moment = time.monotonic() + _START_SECONDS + self._plan.warmup_seconds
        self._say(Start(moment))
        return moment

    def stop(self) -> None:
        """Lets none send anything more."""
        self._say(Stop())

    def drop(self) -> None:
        """Lets all cancel what is in flight."""
        self._say(Drop())

    def _hear(self, pipe: Connection) -> Word:
        try:
            word: Word = pipe.recv()
        except (EOFError, OSError):
            raise LoadFailed(self._obituary(pipe)) from None
        if isinstance(word, Broken):
            raise LoadFailed(f"a process of the tester could not go on: {word.reason}")
        if isinstance(word, Finished):
            self._waiting.discard(pipe)
        return word

    def _obituary(self, pipe: Connection) -> str:
        process = self._members[pipe]
        process.join(_END_SECONDS)
        return f"a process of the tester died with exit code {process.exitcode} before it had finished"

    def _say(self, word: Start | Stop | Drop) -> None:
        for pipe in self._waiting:
            try:
                pipe.send(word)
            except (BrokenPipeError, OSError):  # it died: `words` will tell
                continue
