"""The end of the process beside threads that hang, in a device's driver or on a network volume."""

import logging
import os
import sys
import threading

# All threads of the server that may hang have names with this prefix.
_PREFIX = "linnaeus-"


def end_process_if_threads_remain(code: int) -> None:
    """Ends the process at once if threads of the server still run after it has stopped; else does nothing.

    Otherwise Python would tear itself down around them: a daemon thread that returns from native code meanwhile aborts
    the process (SIGABRT), because its stack cannot be unwound through C++.

    Args:
        code: exit code of the process.
    """
    remaining = sorted(thread.name for thread in threading.enumerate() if thread.name.startswith(_PREFIX))
    if not remaining:
        return
    logging.getLogger(__name__).warning("the process ends beside threads that still run: %s", ", ".join(remaining))
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(code)
