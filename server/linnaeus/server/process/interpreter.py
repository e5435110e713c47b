"""Settings of the interpreter and of the C library's allocator that hold for a whole process."""

import sys

from linnaeus.server.process.freed_memory import libc_function

# After a call into torch a worker waits at most this long for the interpreter lock while the event loop holds it.
# Python's default of 5 ms is as long as a whole batch of a small model.
_SWITCH_INTERVAL_SECONDS = 0.0005
# malloc.h
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGEST_HEAP_BLOCK_BYTES = 1 << 30


def configure_interpreter() -> None:
    """Configures the process; call it once, at its start."""
    sys.setswitchinterval(_SWITCH_INTERVAL_SECONDS)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Makes glibc reuse freed activations instead of returning them to the kernel.

    By default every block above 32 MiB is mapped anew, and its pages are faulted in and zeroed at each run: a batch of
    32 took three times as long (docs/decisions/0004-batch-size.md).
    """
    mallopt = libc_function("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)
        mallopt(_M_ARENA_MAX, 1)  # a thread's own arena ends at 64 MiB, beyond which every block is mapped anew again
