"""The standard streams, which a supervisor, or `>&-`, may have closed before the process starts.

The next files that a process opens get the lowest free numbers. Without this they would be 0, 1 or 2: libraries would
write messages into them, and uvloop aborts the process when it closes one of them.
"""

import os
import sys

_STREAMS = (("stdin", os.O_RDONLY, "r"), ("stdout", os.O_WRONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def open_closed_streams() -> None:
    """Opens /dev/null in place of each standard stream that is closed. Must run before other files are opened."""
    for number, (name, flags, mode) in enumerate(_STREAMS):
        if _is_closed(number):
            _open_null(number, flags)
        if getattr(sys, name) is None:  # Python leaves out the streams that were closed at its start
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="replace", closefd=False))  # noqa: SIM115


def _is_closed(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return True
    return False


def _open_null(number: int, flags: int) -> None:
    opened = os.open(os.devnull, flags)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    os.set_inheritable(number, True)  # as standard streams are
