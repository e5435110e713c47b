"""Devices and the settings of torch that hold for the whole process."""

import ctypes
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from linnaeus.server.errors import StartupError
from linnaeus.server.process.cores import usable_cores
from linnaeus.server.runtime.out_of_memory import is_out_of_memory

# A device's thread that comes back from torch waits for the interpreter at most this long while the event loop works;
# Python's 5 ms are the length of a whole batch for a small model.
_SWITCH_SECONDS = 0.0005
# Up to here it pays more to leave the other cores to the event loop than to make a run shorter.
_SHORT_RUN_SECONDS = 0.003
# Who comes while the event loop runs an image itself waits for so long at most.
_INLINE_RUN_SECONDS = 0.001
_MOST_STREAMS = 4
_STREAMS_OF_A_GPU = 2
_MOST_DECODERS_OF_A_GPU = 4
# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_HEAP_BLOCK_BYTES = 1 << 30


def resolve_device(name: str) -> torch.device:
    """Turns `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there.

    Raises:
        StartupError: the name means nothing, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise StartupError(f"device is {name!r}, but must be auto, cpu or cuda:N") from None
    if device.type == "cpu":
        return device if device.index else torch.device("cpu")
    if device.type != "cuda":
        raise StartupError(f"device is {name!r}, but only auto, cpu and cuda:N are supported")
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise StartupError(f"device {name} is not there: torch sees {torch.cuda.device_count()} CUDA devices")
    return torch.device("cuda", index)


def resolve_devices(names: str) -> list[torch.device]:
    """Turns one or several names, separated by commas, into devices that are there, each once.

    Raises:
        StartupError: as `resolve_device`, or no name was given.
    """
    devices = [resolve_device(name.strip()) for name in names.split(",") if name.strip()]
    if not devices:
        raise StartupError("device is empty, but must be auto, cpu or cuda:N, or several of them separated by commas")
    return list(dict.fromkeys(devices))


def is_responsive(device: torch.device) -> bool:
    """Whether a device still computes. One that has seen an illegal access fails at everything from then on.

    One that is only short of memory, which others may be using, does.
    """
    try:
        return float(torch.ones(8, device=device).sum().item()) == 8.0
    except RuntimeError as error:
        return is_out_of_memory(error)


def default_workers(device: torch.device) -> int:
    """How many batches are under way at once.

    On a CPU one a core, within reason, for each takes memory for its activations. On a GPU two: one is staged and
    copied while the other computes.
    """
    return min(usable_cores(), _MOST_STREAMS) if device.type == "cpu" else _STREAMS_OF_A_GPU


def default_decoders(devices: Sequence[torch.device]) -> int:
    """How many pictures are decoded at once: one a core, but not so many beside a GPU.

    What feeds a GPU is the interpreter, and every decoder more wants its lock, too (docs/decisions/0010-cuda.md).
    """
    cores = usable_cores()
    return min(cores, _MOST_DECODERS_OF_A_GPU) if any(each.type == "cuda" for each in devices) else cores


def configure_process(intra_op_threads: int) -> None:
    """Sets what torch and the C library keep for the whole process; call it once, before any model is loaded.

    Args:
        intra_op_threads: threads for one operation on the CPU; 0 for one a core.
    """
    # By itself torch knows which cores it is bound to, not how much of their time it gets.
    torch.set_num_threads(intra_op_threads or min(torch.get_num_threads(), usable_cores()))
    sys.setswitchinterval(_SWITCH_SECONDS)
    _keep_freed_memory()
    _configure_cudnn()


class CoreShare:
    """Shares the cores between the batches that run side by side on a CPU; a GPU's runs leave them alone.

    A batch that runs alone has all cores. Once there is enough to do, one batch a core is faster than one batch on all
    of them: its operations wait for no other thread. A model whose runs are short has one core always, unless the
    operator says otherwise: the other cores' threads would have to be woken for each of its operations, and the event
    loop, for which such a model waits most of the time, needs them more.

    Args:
        device: where the batches run.
        threads: threads of one operation at most; 0: one a core.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._threads = (threads or torch.get_num_threads()) if device.type == "cpu" else 0
        self._is_free = not threads

    def take(self, concurrent: int, is_short: bool = False) -> None:
        """Gives the calling thread its part, for its next run beside so many others.

        Args:
            concurrent: how many others.
            is_short: whether the runs of its model are.
        """
        if self._threads:
            torch.set_num_threads(1 if is_short else max(1, self._threads // (concurrent + 1)))

    def are_short(self, largest_run_seconds: float) -> bool:
        """Whether a model's runs count as short, the largest of them taking so long."""
        return self._is_free and self._threads > 0 and largest_run_seconds <= _SHORT_RUN_SECONDS

    def runs_inline(self, run_seconds: float) -> bool:
        """Whether the event loop may run a single image itself, that taking so long."""
        return run_seconds <= _INLINE_RUN_SECONDS

    def take_short(self, busy: bool) -> Callable[[], float]:
        """Gives the calling thread the core for short runs.

        Returns:
            A clock for them, which stands still while others have the core if those are `busy`.
        """
        self.take(0, is_short=True)
        return time.thread_time if busy else time.perf_counter

    def take_all(self) -> Callable[[], float]:
        """Gives the calling thread all cores; returns a clock for its runs."""
        self.take(0)
        return time.perf_counter

    def take_one(self) -> Callable[[], float]:
        """Gives the calling thread one core, beside others that are busy.

        Returns:
            A clock for its runs that stands still while others have the core, and counts its own work as if all cores
            shared it. On a GPU, whose work no thread's clock sees, a usual one.
        """
        threads = self._threads
        self.take(threads)
        return (lambda: time.thread_time() / threads) if threads else time.perf_counter


def without_profiling() -> AbstractContextManager[None]:
    """Keeps TorchScript from specialising on every new input shape; enter it around each run.

    The profiling executor stalls the first calls at each new batch size, some models for seconds, and gains nothing on
    a frozen graph. This switch holds for the thread that enters it.
    """
    manager: AbstractContextManager[None] = torch.jit.optimized_execution(False)
    return manager


def release_freed_memory() -> None:
    """Returns freed memory to the kernel and to the GPUs, once: what was freed will not be needed again.

    See configure_process.
    """
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        empty_host_cache = getattr(torch.accelerator, "empty_host_cache", None)  # the oldest torch lacks it
        if empty_host_cache is not None:
            empty_host_cache()
    malloc_trim = _libc_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _keep_freed_memory() -> None:
    """Makes glibc reuse freed activations instead of returning them to the kernel.

    By default every block above 32 MiB is mapped afresh, and its pages are faulted in and zeroed at each run: that
    made a batch of 32 three times slower than need be (docs/decisions/0004-batch-size.md).
    """
    mallopt = _libc_function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        mallopt(_M_ARENA_MAX, 1)  # a thread's own arena ends at 64 MiB: beyond it every block is mapped afresh again


def _configure_cudnn() -> None:
    """Keeps float32 whole, and lets cuDNN choose its convolutions by rule.

    Having it time them took half a second for each new batch size and thread, and found nothing that was faster
    (docs/decisions/0010-cuda.md). By default torch lets convolutions round their operands to TF32, which keeps 10 bits
    of 23: answers would differ from the CPU's in the third digit. The names are those of torch 2.9; the older ones
    cannot be mixed with them.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]


def _libc_function(name: str) -> Callable[..., int] | None:
    """A function of glibc; None under other C libraries, whose allocators have other habits."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function
