"""Gives freed memory back to the operating system, a while after somebody freed much of it.

The process keeps freed blocks for the next batch (`runtime.device.configure_process`), also those of a large image.
Giving 400 MB back takes about 0.1 s, in which no other thread can allocate: it waits for a quiet moment.
"""

import ctypes
import sys
import threading
import time
from collections.abc import Callable


def libc_function(name: str) -> Callable[..., int] | None:
    """Returns a function of glibc; None under other C libraries, whose allocators work differently."""
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return function


def return_freed_memory() -> None:
    """Gives all freed memory back, at once."""
    malloc_trim = libc_function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


class FreedMemory:
    """Calls a function once nobody freed much for a while. Any thread may use it.

    Args:
        release: gives the memory back; called on a thread that ends after it.
        quiet_seconds: time without another `note` before the call.
        longest_seconds: time after the first `note` by which the call is made in any case.
    """

    def __init__(
        self,
        release: Callable[[], None] = return_freed_memory,
        quiet_seconds: float = 1.0,
        longest_seconds: float = 10.0,
    ) -> None:
        self._release = release
        self._quiet_seconds = quiet_seconds
        self._longest_seconds = longest_seconds
        self._lock = threading.Lock()
        self._last: float | None = None

    def note(self) -> None:
        """Says that much memory was freed just now."""
        with self._lock:
            waiting, self._last = self._last is not None, time.monotonic()
        if not waiting:
            threading.Thread(target=self._wait_and_release, name="linnaeus-memory", daemon=True).start()

    def _wait_and_release(self) -> None:
        latest = time.monotonic() + self._longest_seconds
        while (rest := self._rest(latest)) > 0:
            time.sleep(rest)
        self._release()

    def _rest(self, latest: float) -> float:
        """Returns how long to wait on; ends the wait at zero, so that the next `note` begins another."""
        with self._lock:
            now = time.monotonic()
            last = now if self._last is None else self._last
            rest = min(last + self._quiet_seconds, latest) - now
            if rest <= 0:
                self._last = None
            return rest
