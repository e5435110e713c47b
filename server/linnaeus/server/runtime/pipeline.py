"""Runs batches on an asynchronous device: one batch is staged and copied while another computes.

This module owns the order of operations: which thread stages, what waits for what, how a batch is padded and how its
answers are returned. It must not know the device; an `Accelerator` drives it. CUDA is the only one in production; the
tests use one that delays every operation as long as it may.

A run takes a slot and fills its staging memory on the calling thread. The launcher thread then enqueues the device's
operations, and the calling thread waits for the answers. With two calling threads, one batch is staged and copied while
the other computes; batches compute one after the other, each at full speed.

All calls into the model are made by the launcher, one thread per runner, including warm-up: cuDNN's choice for a batch
size is cached per thread (PyTorch's plan caches are thread-local), so a thread that was not warmed up would choose
again while serving. What a call raises goes to the thread that waits for it; the launcher goes on. It is a daemon, so a
device that hangs does not keep the process from ending.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from linnaeus.server.process.daemon_threads import DaemonExecutor
from linnaeus.server.runtime.runner import BatchOutput, Pixels
from linnaeus.server.runtime.staging import stage

# Values and indices, [N, k] each, and features, [N, d], or None if the model has none.
Answers: TypeAlias = tuple[Tensor, Tensor, Tensor | None]
# Takes uint8 [N, H, W, C] on the device, where N is a size class, and k. Returns contiguous answers in memory that
# nothing else writes to while they are referenced.
Forward: TypeAlias = Callable[[Tensor, int], Answers]


class CommandQueue(Protocol):
    """A queue of operations that a device runs in order, concurrently with its other queues."""

    def enqueue(self, operation: Callable[[], object]) -> None:
        """Enqueues torch operations; they may run at once or at any later time."""

    def wait_for(self, other: Any) -> None:
        """Delays later operations of this queue until the other queue has run everything enqueued there so far."""

    def synchronize(self) -> None:
        """Blocks until everything enqueued so far has run; other threads run meanwhile.

        Raises:
            RuntimeError: if an operation failed on the device.
        """


class Accelerator(Protocol):
    """An asynchronous device. Only the launcher calls it."""

    def set_current(self) -> None:
        """Prepares the calling thread for enqueueing operations."""

    def command_queue(self) -> CommandQueue:
        """Returns a new queue."""

    def staging(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns host memory that the device can copy from and to asynchronously."""

    def device_memory(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns memory of the device."""


class _Slot:
    """The buffers of one batch, from staging to answers. One run at a time.

    The copies of a slot have a queue of their own, so that they do not wait for another batch's computation. All use of
    the slot's memory is ordered by that queue, so operations that a failed run left behind complete before those of the
    next run.

    Args:
        accelerator: the device.
        compute_queue: the queue that computes, shared by all slots of a runner.
        forward: the model.
        shape: of the largest batch, [N, H, W, C].
        classes: number of classes.
        features: number of features; 0 if the model has none.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        compute_queue: CommandQueue,
        forward: Forward,
        shape: Sequence[int],
        classes: int,
        features: int,
    ) -> None:
        self._copy_queue, self._compute_queue = accelerator.command_queue(), compute_queue
        self._forward = forward
        self._staged = accelerator.staging(shape, torch.uint8)
        self._on_device = accelerator.device_memory(shape, torch.uint8)
        self._values = accelerator.staging((shape[0] * classes,), torch.float32)
        self._indices = accelerator.staging((shape[0] * classes,), torch.int64)
        self._features = accelerator.staging((shape[0], features), torch.float32)
        self._answers: list[Answers] = []
        self.rows: Pixels = self._staged.numpy()

    def launch(self, count: int, size: int, k: int, want_features: bool) -> None:
        """Enqueues all operations for the images in `rows`; runs on the launcher.

        Args:
            count: number of images staged.
            size: size of the batch that runs, at least `count`; the contents of the other rows do not matter.
            k: classes to return for each image.
            want_features: whether to fetch the features, too.
        """
        # Referenced until they are fetched: the allocator tracks only the compute queue, and would reuse the memory
        # before the copy.
        answers: list[Answers] = []
        self._answers = answers
        self._copy_queue.enqueue(partial(self._send, count))
        self._compute_queue.wait_for(self._copy_queue)
        self._compute_queue.enqueue(partial(self._compute, size, k, answers))
        self._copy_queue.wait_for(self._compute_queue)
        self._copy_queue.enqueue(partial(self._fetch, count, k, want_features, answers))

    def results(self, count: int, k: int, want_features: bool) -> BatchOutput:
        """Waits for the answers and returns them."""
        self._copy_queue.synchronize()
        self._answers = []
        indices, values = (each[: count * k].view(count, k) for each in (self._indices, self._values))
        features = self._features[:count].numpy().copy() if want_features else None
        return BatchOutput(indices.tolist(), values.tolist(), features)

    def synchronize(self) -> None:
        """Waits for operations that a failed run may have left; runs on the launcher.

        Raises:
            RuntimeError: if the device failed.
        """
        self._copy_queue.synchronize()

    def _send(self, count: int) -> None:
        self._on_device[:count].copy_(self._staged[:count], non_blocking=True)

    def _compute(self, size: int, k: int, answers: list[Answers]) -> None:
        answers.append(self._forward(self._on_device[:size], k))

    def _fetch(self, count: int, k: int, want_features: bool, answers: list[Answers]) -> None:
        if not answers:
            raise RuntimeError("a batch was to be fetched that had not been computed")
        values, indices, features = answers[0]
        for host, answer in ((self._values, values), (self._indices, indices)):
            host[: count * k].view(count, k).copy_(answer[:count], non_blocking=True)
        if features is not None and want_features:
            self._features[:count].copy_(features[:count], non_blocking=True)


class PipelinedRunner:
    """Implements `Runner` for an accelerator with two batches in flight, and more if more threads call.

    Batches are padded to the next of the runner's sizes, so nothing is chosen, compiled or allocated for the first time
    while serving.

    Args:
        accelerator: the device.
        forward: the model.
        image_shape: [H, W, C].
        classes: number of classes.
        sizes: batch sizes, ascending.
        in_flight: number of slots created beforehand.
        features: number of features that `forward` returns for each image; 0 if it returns none.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        forward: Forward,
        image_shape: Sequence[int],
        classes: int,
        sizes: Sequence[int],
        in_flight: int = 2,
        features: int = 0,
    ) -> None:
        self._accelerator = accelerator
        self._forward = forward
        self._image_shape = tuple(image_shape)
        self._classes = classes
        self._sizes = list(sizes)
        self._in_flight = in_flight
        self._features = features
        self._free: list[_Slot] = []  # free slots
        self._launcher = DaemonExecutor("linnaeus-launcher")
        try:
            self._launcher.submit(accelerator.set_current).result()
            self._compute_queue: CommandQueue = self._launcher.submit(accelerator.command_queue).result()
            self.keep_sizes(sizes)
        except BaseException:
            self._launcher.shutdown()
            raise

    def run(self, images: Sequence[Pixels], k: int, want_features: bool = False) -> BatchOutput:
        """Runs one batch; see `Runner`."""
        count, has_features = len(images), want_features and self._features > 0
        with self._slot() as slot:
            stage(images, slot.rows)
            size = self._sizes[bisect_left(self._sizes, count)]
            self._launcher.submit(partial(slot.launch, count, size, k, has_features)).result()
            return slot.results(count, k, has_features)

    def keep_sizes(self, sizes: Sequence[int]) -> None:
        """Restricts the runner to these sizes and creates slots for them; see `Runner`."""
        self._sizes = list(sizes)
        self._free.clear()
        self._free += [self._new_slot() for _ in range(self._in_flight)]

    def run_on_launcher(self, work: Callable[[], object]) -> None:
        """Runs `work` on the launcher and waits for it."""
        self._launcher.submit(work).result()

    def keep_cores(self, alone: int, beside: int) -> None:
        """Does nothing: the calling thread's share of the cores is torch's own setting; see `Runner`."""

    def settle(self) -> None:
        """Does nothing: the module is all that is held; see `Runner`."""

    def close(self, cleanup: Callable[[], object] = lambda: None) -> None:
        """Waits for the device, frees the slots and ends the launcher; see `Runner`.

        Args:
            cleanup: called on the launcher once none of the model's operations is pending.
        """
        with suppress(RuntimeError):  # already closed
            self._launcher.submit(partial(self._free_slots, cleanup))
        self._launcher.shutdown()

    def _free_slots(self, cleanup: Callable[[], object]) -> None:
        self._synchronize()
        self._free.clear()
        cleanup()

    def _synchronize(self) -> None:
        for wait in (self._compute_queue.synchronize, *(slot.synchronize for slot in self._free)):
            with suppress(RuntimeError):  # the device is lost, or a failed run left an error
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
        numbers = (self._classes, self._features)
        create_slot = partial(_Slot, self._accelerator, self._compute_queue, self._forward, shape, *numbers)
        return self._launcher.submit(create_slot).result()
