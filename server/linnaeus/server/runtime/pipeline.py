"""Batches on a device that works by itself: one is staged and sent while another computes.

This module owns the order of things: who stages where, what waits for what, how a batch is padded and its answers
handed back. It must not know what the device is: an `Accelerator` drives it. CUDA is the only one to serve with; the
tests bring one that puts everything off for as long as it may.

A run takes a slot and fills its staging memory, which is the calling thread's work. Then the launcher gives the device
its orders, and the calling thread waits for the answers. With two threads calling, one batch is staged and copied
while the other computes; batches compute one after the other, each at full speed.

Everything that concerns the model is done by the launcher, one thread a runner, warm-up included: what cuDNN has
chosen for a batch size is known only to the thread that asked (PyTorch's plan caches are thread-local), so a thread
that had not been warmed up would choose again, in the middle of serving.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from linnaeus.server.runtime.runner import Pixels, TopK
from linnaeus.server.runtime.staging import stage

# Takes uint8 [N, H, W, C] on the device, where N is a size class, and k; gives values and indices, [N, k] each, in
# memory that nothing else writes to as long as they are held.
Forward: TypeAlias = Callable[[Tensor, int], tuple[Tensor, Tensor]]


class CommandQueue(Protocol):
    """Orders that a device carries out in the order in which they were given, beside those of its other lines."""

    def enqueue(self, order: Callable[[], object]) -> None:
        """Gives an order: operations of torch. It may be carried out at once or at any time later."""

    def wait_for(self, other: Any) -> None:
        """What is given from now on begins only when the other line has done all that it was given so far."""

    def synchronize(self) -> None:
        """Returns when all that was given so far is done; other threads run meanwhile.

        Raises:
            RuntimeError: the device failed at it.
        """


class Accelerator(Protocol):
    """A device that works by itself. Only the launcher calls it."""

    def set_current(self) -> None:
        """The calling thread is going to give orders."""

    def command_queue(self) -> CommandQueue:
        """A new line."""

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory of the processor's that the device copies from and to by itself."""

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Memory of the device's."""


class _Slot:
    """What one batch needs from its staging to its answers. One run at a time.

    Its copies have a line of their own, so that they need not wait for another batch's computing. Since all use of a
    slot's memory is by that line, or by what it waits for, a run that failed leaves nothing behind that could touch
    the next one's data: whatever is still on its way arrives before it.

    Args:
        accelerator: where the memory is.
        computing: the line that computes, shared by all slots of a runner.
        forward: the model.
        shape: of the largest batch, [N, H, W, C].
        classes: that the model tells apart.
    """

    def __init__(
        self, accelerator: Accelerator, computing: CommandQueue, forward: Forward, shape: Sequence[int], classes: int
    ) -> None:
        self._copying, self._computing = accelerator.command_queue(), computing
        self._forward = forward
        self._staged = accelerator.staging(shape, torch.uint8)
        self._sent = accelerator.device_memory(shape, torch.uint8)
        self._values = accelerator.staging((shape[0] * classes,), torch.float32)
        self._indices = accelerator.staging((shape[0] * classes,), torch.int64)
        self._held: list[tuple[Tensor, Tensor]] = []
        self.rows: Pixels = self._staged.numpy()

    def launch(self, count: int, size: int, k: int) -> None:
        """Gives all orders for the images in `rows`; runs on the launcher.

        Args:
            count: images staged.
            size: of the batch that is run, at least `count`; what the other rows hold does not matter.
            k: classes to return for each image.
        """
        # Held until they are fetched: the allocator knows of the computing line only, and would hand their memory on.
        answers: list[tuple[Tensor, Tensor]] = []
        self._held = answers
        self._copying.enqueue(partial(self._send, count))
        self._computing.wait_for(self._copying)
        self._computing.enqueue(partial(self._compute, size, k, answers))
        self._copying.wait_for(self._computing)
        self._copying.enqueue(partial(self._fetch, count, k, answers))

    def results(self, count: int, k: int) -> TopK:
        """Waits for them."""
        self._copying.synchronize()
        self._held = []
        indices, values = (each[: count * k].view(count, k) for each in (self._indices, self._values))
        return indices.tolist(), values.tolist()

    def synchronize(self) -> None:
        """Waits for what a failed run may have left on its way; runs on the launcher.

        Raises:
            RuntimeError: the device failed.
        """
        self._copying.synchronize()

    def _send(self, count: int) -> None:
        self._sent[:count].copy_(self._staged[:count], non_blocking=True)

    def _compute(self, size: int, k: int, answers: list[tuple[Tensor, Tensor]]) -> None:
        answers.append(self._forward(self._sent[:size], k))

    def _fetch(self, count: int, k: int, answers: list[tuple[Tensor, Tensor]]) -> None:
        if not answers:
            raise RuntimeError("a batch was to be fetched that had not been computed")
        for host, answer in zip((self._values, self._indices), answers[0], strict=True):
            host[: count * k].view(count, k).copy_(answer[:count], non_blocking=True)


class PipelinedRunner:
    """Implements `Runner` for an accelerator: two batches in flight, and more if more threads call.

    Only batches of the sizes it keeps are ever run; others are padded to the next. So nothing is chosen, compiled or
    allocated for the first time while serving.

    Args:
        accelerator: the device.
        forward: the model.
        image_shape: [H, W, C].
        classes: that the model tells apart.
        sizes: of batches, growing.
        in_flight: slots that are made beforehand.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        forward: Forward,
        image_shape: Sequence[int],
        classes: int,
        sizes: Sequence[int],
        in_flight: int = 2,
    ) -> None:
        self._accelerator = accelerator
        self._forward = forward
        self._image_shape = tuple(image_shape)
        self._classes = classes
        self._sizes = list(sizes)
        self._in_flight = in_flight
        self._free: list[_Slot] = []  # slots that no run uses now
        self._launcher = ThreadPoolExecutor(1, "linnaeus-launcher")
        try:
            self._launcher.submit(accelerator.set_current).result()
            self._computing: CommandQueue = self._launcher.submit(accelerator.command_queue).result()
            self.keep(sizes)
        except BaseException:
            self._launcher.shutdown()
            raise

    def run(self, images: Sequence[Pixels], k: int) -> TopK:
        """Runs one batch to its end; see `Runner`."""
        count = len(images)
        with self._slot() as slot:
            stage(images, slot.rows)
            size = self._sizes[bisect_left(self._sizes, count)]
            self._launcher.submit(slot.launch, count, size, k).result()
            return slot.results(count, k)

    def keep(self, sizes: Sequence[int]) -> None:
        """Runs no others from now on, and makes the slots for them; see `Runner`."""
        self._sizes = list(sizes)
        self._free.clear()
        self._free += [self._new_slot() for _ in range(self._in_flight)]

    def run_on_launcher(self, work: Callable[[], object]) -> None:
        """Has the launcher do something else with the model, and waits for it."""
        self._launcher.submit(work).result()

    def close(self, then: Callable[[], object] = lambda: None) -> None:
        """Waits for the device, frees the slots and ends the launcher; see `Runner`.

        Args:
            then: what else the launcher is to do once nothing of the model is under way.
        """
        with suppress(RuntimeError):  # it was closed before
            self._launcher.submit(self._clear, then)
        self._launcher.shutdown()

    def _clear(self, then: Callable[[], object]) -> None:
        self._synchronize()
        self._free.clear()
        then()

    def _synchronize(self) -> None:
        for wait in (self._computing.synchronize, *(slot.synchronize for slot in self._free)):
            with suppress(RuntimeError):  # a lost device, or what a failed run has left
                wait()

    @contextmanager
    def _slot(self) -> Iterator[_Slot]:
        try:
            slot = self._free.pop()
        except IndexError:
            slot = self._new_slot()
        try:
            yield slot
        finally:
            self._free.append(slot)

    def _new_slot(self) -> _Slot:
        shape = (self._sizes[-1], *self._image_shape)
        make = partial(_Slot, self._accelerator, self._computing, self._forward, shape, self._classes)
        return self._launcher.submit(make).result()
