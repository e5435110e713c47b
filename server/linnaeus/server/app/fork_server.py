"""The fork server: a process that has imported what the engine and the front ends need, and forks them.

A fork shares the memory of these imports and saves their seconds at each start. The fork server has one thread and
calls neither gRPC nor torch, so nothing is forked in the middle of its work.
"""

import importlib.util
import multiprocessing
import os
import socket
from multiprocessing.process import BaseProcess

from linnaeus.server.app.child import run_process
from linnaeus.server.link.control_messages import Role

_PRELOADED = "linnaeus.server.app.preloaded"
# What only the other processes import. Without it each of them would fail by itself.
_NEEDED = ("torch", "grpc")


class ForkServer:
    """Starts processes. The fork server itself starts with the first of them, and again should it be lost.

    Raises:
        ModuleNotFoundError: if a package is not installed that the processes need.
    """

    def __init__(self) -> None:
        for name in _NEEDED:
            if importlib.util.find_spec(name) is None:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOADED])
        # numpy's linear algebra would start its threads at its import; nothing here computes with it.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

    def start(self, role: Role, control: socket.socket) -> BaseProcess:
        """Starts a process; blocks for seconds while the fork server starts.

        Args:
            role: what the process is to be, for its name in lists of processes.
            control: the process's end of its socket to the supervisor; the caller closes its own copy.

        Raises:
            OSError: if the process may not be started.
        """
        # A daemon, as Python would wait at the supervisor's end for others.
        process = self._context.Process(target=run_process, args=(role, control), daemon=True)
        try:
            process.start()
        except EOFError:
            raise OSError("the process that starts the others has ended") from None
        return process
