"""A device for tests that puts every order off for as long as it may, and then takes any that may be next."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Order:
    """What is to be done, and what must have been done before on another command queue."""

    work: Callable[[], object]
    after: "tuple[LateCommandQueue, int] | None" = None


class LateCommandQueue:
    """A command queue that runs its orders only while somebody waits; that of an eager device runs them at once.

    Attributes:
        refuses: how many of the next orders fail as they are given, as a launch does for which there is no memory.
        takes: how many orders it takes before it refuses.
    """

    def __init__(self, device: "LateDevice") -> None:
        self.device = device
        self.orders: deque[Order] = deque()
        self.given = 0
        self.done = 0
        self.refuses = 0
        self.takes = 0
        self._failure: RuntimeError | None = None

    def enqueue(self, order: Callable[[], object]) -> None:
        if self.takes:
            self.takes -= 1
        elif self.refuses:
            self.refuses -= 1
            raise RuntimeError("out of memory")
        if self.device.is_eager:
            order()
        else:
            self._give(Order(order))

    def wait_for(self, other: "LateCommandQueue") -> None:
        self._give(Order(lambda: None, (other, other.given)))

    def synchronize(self) -> None:
        with self.device.changed:
            target = self.given
            while self.done < target:
                if not self.device.advance() and not self.device.changed.wait(PATIENCE_SECONDS):
                    raise TimeoutError("the device stands still")
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure

    def carry_out(self) -> None:
        """Does what is next; a failure is told to whoever waits, as a device does that works by itself."""
        try:
            self.orders.popleft().work()
        except RuntimeError as error:
            self._failure = error
        self.done += 1

    @property
    def may_go_on(self) -> bool:
        if not self.orders or self in self.device.held:
            return False
        after = self.orders[0].after
        return after is None or after[0].done >= after[1]

    def _give(self, order: Order) -> None:
        with self.device.changed:
            self.orders.append(order)
            self.given += 1
            self.device.changed.notify_all()


class LateDevice:
    """Implements `Accelerator`, and keeps what is asked of it.

    Attributes:
        held: command queues that stand still until they are let go.
        threads: who called.
        staged: the staging memory that was asked for.
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
        """A runner asks for the command queue that computes first."""
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
        return torch.full(tuple(shape), 77, dtype=dtype)  # what nobody wrote must not pass for an answer

    def let_go(self, command_queue: LateCommandQueue) -> None:
        with self.changed:
            self.held.remove(command_queue)
            self.changed.notify_all()

    def advance(self) -> bool:
        """Carries one order out, any that may be next; False if there is none. The caller holds `changed`."""
        ready = [command_queue for command_queue in self.command_queues if command_queue.may_go_on]
        if not ready:
            return False
        command_queue = self._chance.choice(ready)
        command_queue.carry_out()
        self.changed.notify_all()
        return True
