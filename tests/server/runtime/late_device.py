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
    """What is to be done, and what must have been done before on another line."""

    work: Callable[[], object]
    after: "tuple[LateLine, int] | None" = None


class LateLine:
    """A line whose orders are carried out only while somebody waits; an eager device's are at once, as they are given.

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

    def do(self, order: Callable[[], object]) -> None:
        if self.takes:
            self.takes -= 1
        elif self.refuses:
            self.refuses -= 1
            raise RuntimeError("out of memory")
        if self.device.is_eager:
            order()
        else:
            self._give(Order(order))

    def reconcile_changes(self, other: "LateLine") -> None:
        self._give(Order(lambda: None, (other, other.given)))

    def wait(self) -> None:
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
        held: lines that stand still until they are let go.
        threads: who called.
        staged: the staging memory that was asked for.
    """

    def __init__(self, seed: int = 0, is_eager: bool = False) -> None:
        self.is_eager = is_eager
        self.changed = threading.Condition()
        self.lines: list[LateLine] = []
        self.held: set[LateLine] = set()
        self.threads: set[int] = set()
        self.staged: list[Tensor] = []
        self._chance = Random(seed)

    @property
    def computing(self) -> LateLine:
        """A runner asks for the line that computes first."""
        return self.lines[0]

    def enter(self) -> None:
        self.threads.add(threading.get_ident())

    def line(self) -> LateLine:
        self.threads.add(threading.get_ident())
        self.lines.append(LateLine(self))
        return self.lines[-1]

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.staged.append(self.memory(shape, dtype))
        return self.staged[-1]

    def memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        self.threads.add(threading.get_ident())
        return torch.full(tuple(shape), 77, dtype=dtype)  # what nobody wrote must not pass for an answer

    def let_go(self, line: LateLine) -> None:
        with self.changed:
            self.held.remove(line)
            self.changed.notify_all()

    def advance(self) -> bool:
        """Carries one order out, any that may be next; False if there is none. The caller holds `changed`."""
        ready = [line for line in self.lines if line.may_go_on]
        if not ready:
            return False
        line = self._chance.choice(ready)
        line.carry_out()
        self.changed.notify_all()
        return True
