"""A test device that delays every operation as long as it may, and then runs any that is ready, at random."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

TIMEOUT_SECONDS = 60


@dataclass(frozen=True)
class Operation:
    """An operation, and how many operations another command queue must have run before."""

    work: Callable[[], object]
    after: "tuple[LateCommandQueue, int] | None" = None


class LateCommandQueue:
    """A command queue that runs operations only while a thread waits; on an eager device it runs them at once.

    Attributes:
        refuses: how many of the next operations fail when enqueued, like a launch without enough memory.
        accepts: how many operations it accepts before it refuses.
    """

    def __init__(self, device: "LateDevice") -> None:
        self.device = device
        self.operations: deque[Operation] = deque()
        self.enqueued = 0
        self.done = 0
        self.refuses = 0
        self.accepts = 0
        self._failure: RuntimeError | None = None

    def enqueue(self, operation: Callable[[], object]) -> None:
        if self.accepts:
            self.accepts -= 1
        elif self.refuses:
            self.refuses -= 1
            raise RuntimeError("out of memory")
        if self.device.is_eager:
            operation()
        else:
            self._append(Operation(operation))

    def wait_for(self, other: "LateCommandQueue") -> None:
        self._append(Operation(lambda: None, (other, other.enqueued)))

    def synchronize(self) -> None:
        with self.device.changed:
            target = self.enqueued
            while self.done < target:
                if not self.device.advance() and not self.device.changed.wait(TIMEOUT_SECONDS):
                    raise TimeoutError("the device stands still")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def run_next(self) -> None:
        """Runs the next operation; an error is raised in the waiting thread, as by an asynchronous device."""
        try:
            self.operations.popleft().work()
        except RuntimeError as error:
            self._failure = error
        self.done += 1

    @property
    def is_ready(self) -> bool:
        if not self.operations or self in self.device.held:
            return False
        after = self.operations[0].after
        return after is None or after[0].done >= after[1]

    def _append(self, operation: Operation) -> None:
        with self.device.changed:
            self.operations.append(operation)
            self.enqueued += 1
            self.device.changed.notify_all()


class LateDevice:
    """Implements `Accelerator`, and records how it is used.

    Attributes:
        held: command queues that run nothing until they are released.
        threads: idents of the calling threads.
        staged: staging memory that was allocated.
    """

    def __init__(self, seed: int = 0, is_eager: bool = False) -> None:
        self.is_eager = is_eager
        self.changed = threading.Condition()
        self.command_queues: list[LateCommandQueue] = []
        self.held: set[LateCommandQueue] = set()
        self.threads: set[int] = set()
        self.staged: list[Tensor] = []
        self._chance = Random(seed)

    @property
    def computing(self) -> LateCommandQueue:
        """The compute queue, which a runner creates first."""
        return self.command_queues[0]

    def set_current(self) -> None:
        self.threads.add(threading.get_ident())

    def command_queue(self) -> LateCommandQueue:
        self.threads.add(threading.get_ident())
        self.command_queues.append(LateCommandQueue(self))
        return self.command_queues[-1]

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.staged.append(self.device_memory(shape, dtype))
        return self.staged[-1]

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.threads.add(threading.get_ident())
        return torch.full(tuple(shape), 77, dtype=dtype)  # memory that was never written must not look like an answer

    def release(self, command_queue: LateCommandQueue) -> None:
        with self.changed:
            self.held.remove(command_queue)
            self.changed.notify_all()

    def advance(self) -> bool:
        """Runs one operation that is ready; returns False if there is none. The caller holds `changed`."""
        ready = [command_queue for command_queue in self.command_queues if command_queue.is_ready]
        if not ready:
            return False
        command_queue = self._chance.choice(ready)
        command_queue.run_next()
        self.changed.notify_all()
        return True
