"""Devices, and the settings of torch and the C library that hold for the whole process."""

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import torch

from linnaeus.server.errors import StartupError
from linnaeus.server.process.cores import usable_cores
from linnaeus.server.process.freed_memory import return_freed_memory
from linnaeus.server.process.interpreter import configure_interpreter
from linnaeus.server.runtime.out_of_memory import is_out_of_memory

# Runs up to this long use one core: the event loop gains more from the other cores than the run would.
_SHORT_RUN_SECONDS = 0.005
_MAX_CPU_WORKERS = 4
_GPU_WORKERS = 2
_MAX_DECODERS_WITH_GPU = 4


def resolve_device(name: str) -> torch.device:
    """Returns the device that `auto`, `cpu`, `cuda` or `cuda:N` names.

    Raises:
        StartupError: if the name is not valid, or the device does not exist.
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
        raise StartupError(f"device is {name!r}, but must be auto, cpu or cuda:N")
    index = device.index or 0
    if index >= torch.cuda.device_count():
        raise StartupError(
            f"device {name} is not there: torch sees {torch.cuda.device_count()} CUDA devices; use cpu or auto"
        )
    return torch.device("cuda", index)


def resolve_devices(names: str) -> list[torch.device]:
    """Returns the devices named in a comma-separated list, without duplicates.

    Raises:
        StartupError: see `resolve_device`; also if the list is empty.
    """
    devices = [resolve_device(name.strip()) for name in names.split(",") if name.strip()]
    if not devices:
        raise StartupError("device is empty, but must be auto, cpu or cuda:N, or several of them separated by commas")
    return list(dict.fromkeys(devices))


def is_responsive(device: torch.device) -> bool:
    """Whether a device still computes; after an illegal memory access every operation on it fails.

    A device that is only out of memory counts as responsive: others may be using the memory.
    """
    try:
        return float(torch.ones(8, device=device).sum().item()) == 8.0
    except RuntimeError as error:
        return is_out_of_memory(error)


def default_workers(device: torch.device) -> int:
    """Returns how many batches run at once on a device by default.

    CPU: one per core, but few, because each needs memory for its activations. GPU: two, so that one is staged and
    copied while the other computes.
    """
    return min(usable_cores(), _MAX_CPU_WORKERS) if device.type == "cpu" else _GPU_WORKERS


def default_decoders(devices: Sequence[torch.device], in_front_ends: bool) -> int:
    """Returns how many images are decoded at once by default: one per core, but few beside a GPU.

    A GPU is fed through the interpreter, and every further decoder competes for its lock (docs/decisions/0010-cuda.md).

    Args:
        devices: run the models.
        in_front_ends: whether images are decoded in front ends, whose interpreters feed no device.
    """
    cores = usable_cores()
    if in_front_ends or all(each.type != "cuda" for each in devices):
        return cores
    return min(cores, _MAX_DECODERS_WITH_GPU)


def configure_process(intra_op_threads: int) -> None:
    """Configures torch and the C library for the whole process; call it once, before any model is loaded.

    Args:
        intra_op_threads: threads for one operation on the CPU; 0: one per core.
    """
    # torch respects the process's core affinity but not its CPU quota
    torch.set_num_threads(intra_op_threads or min(torch.get_num_threads(), usable_cores()))
    configure_interpreter()
    _configure_cudnn()


class CoreShare:
    """Divides the cores between concurrent batches on a CPU; for a GPU it does nothing.

    A batch that runs alone uses all cores. Under load one batch per core is faster than one batch on all cores, because
    its operations wait for no other thread. A model with short runs always uses one core, unless the operator set the
    number of threads: waking the other cores' threads for each operation costs more than it gains, and the event loop,
    for which such a model mostly waits, needs those cores.

    Args:
        device: the device that the batches run on.
        threads: maximum number of threads for one operation; 0: one per core.
    """

    def __init__(self, device: torch.device, threads: int) -> None:
        self._threads = (threads or torch.get_num_threads()) if device.type == "cpu" else 0
        self._is_automatic = not threads

    @property
    def threads(self) -> int:
        """The largest number of cores that one batch may use; 0 on a GPU."""
        return self._threads

    def take(self, concurrent: int, is_short: bool = False) -> None:
        """Sets the number of torch threads for the calling thread's next run.

        Args:
            concurrent: number of other batches that run at the same time.
            is_short: whether the model's runs are short.
        """
        if self._threads:
            torch.set_num_threads(1 if is_short else max(1, self._threads // (concurrent + 1)))

    def are_short(self, largest_run_seconds: float) -> bool:
        """Whether a model whose largest batch takes this long has short runs."""
        return self._is_automatic and self._threads > 0 and largest_run_seconds <= _SHORT_RUN_SECONDS

    def take_short(self, busy: bool) -> Callable[[], float]:
        """Restricts the calling thread to one core for short runs.

        Args:
            busy: whether other work competes for the core.

        Returns:
            A clock for the runs, in seconds; with `busy` it stands still while other threads have the core.
        """
        self.take(0, is_short=True)
        return time.thread_time if busy else time.perf_counter

    def take_all(self) -> Callable[[], float]:
        """Gives the calling thread all cores; returns a clock for its runs."""
        self.take(0)
        return time.perf_counter

    def take_one(self) -> Callable[[], float]:
        """Restricts the calling thread to one core beside busy ones.

        Returns:
            A clock for its runs, in seconds. On a CPU it counts the thread's own CPU time divided by the number of
            cores, as if all cores shared the work. For a GPU, whose work no thread clock measures, it is a wall clock.
        """
        threads = self._threads
        self.take(threads)
        return (lambda: time.thread_time() / threads) if threads else time.perf_counter


def without_profiling() -> AbstractContextManager[None]:
    """Returns a context that keeps TorchScript from specialising on every new input shape; enter it around each run.

    The profiling executor stalls the first calls at each new batch size, for some models for seconds, and gains nothing
    on a frozen graph. The setting applies to the thread that enters the context.
    """
    manager: AbstractContextManager[None] = torch.jit.optimized_execution(False)
    return manager


def release_freed_memory() -> None:
    """Returns freed memory to the operating system and the GPUs, once; see `configure_process`."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
        empty_host_cache = getattr(torch.accelerator, "empty_host_cache", None)  # missing in the oldest supported torch
        if empty_host_cache is not None:
            empty_host_cache()
    return_freed_memory()


def _configure_cudnn() -> None:
    """Keeps float32 convolutions in full precision, and disables cuDNN's autotuning.

    Autotuning took half a second for each new batch size and thread, and found nothing faster
    (docs/decisions/0010-cuda.md). By default torch lets convolutions round their operands to TF32, which keeps 10 of 23
    bits: answers would differ from the CPU's in the third digit. The names are those of torch 2.9; the older ones
    cannot be mixed with them.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
