"""Handling of SIGTERM and SIGINT: the first signal stops the server gracefully, the second ends the process at once."""

import asyncio
import os
import signal
from types import FrameType

_MESSAGE = b"linnaeus-server: a second signal ends it at once\n"
_STANDARD_ERROR = 2


def stop_on_signals() -> asyncio.Event:
    """Returns an event that the first signal sets. Must be called in the event loop's thread, the main thread."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_first_signal() -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, _exit)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, on_first_signal)
    return stop


def _exit(number: int, frame: FrameType | None) -> None:
    """Ends the process, even if the event loop is blocked.

    The default action of the signal does not suffice: it does not exist for process 1 of a container. The exit code is
    the one that shells report for a process ended by the signal, 143 or 130.
    """
    os.write(_STANDARD_ERROR, _MESSAGE)
    os._exit(128 + number)
