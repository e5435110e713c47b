"""SIGTERM and SIGINT: the first asks the server to stop, the second ends the process at once."""

import asyncio
import os
import signal
from types import FrameType

_MESSAGE = b"linnaeus-server: a second signal ends it at once\n"
_STANDARD_ERROR = 2


def stop_on_signals() -> asyncio.Event:
    """Returns what the first signal sets; call it in the event loop's thread, the main one."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def first() -> None:
        stop.set()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, _end)

    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, first)
    return stop


def _end(number: int, frame: FrameType | None) -> None:
    """Ends the process, whatever the event loop is busy with.

    Not left to the system's default action, which does not exist for the first process of a container. The exit code is
    what shells show for a process that a signal ended: 143 or 130.
    """
    os.write(_STANDARD_ERROR, _MESSAGE)
    os._exit(128 + number)
