"""A process that the supervisor starts: the engine or a front end.

The supervisor first says on the socket between them what the process is to be. If the supervisor is gone, so is the
process.
"""

import asyncio
import logging
import os
import socket
import sys

from pydantic import TypeAdapter

from linnaeus.server.app.control import Control
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ServerFailed, StartupError
from linnaeus.server.link.control_messages import Refusal, Role
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.event_loop import new_event_loop
from linnaeus.server.process.thread_name import show_thread_name

logger = logging.getLogger(__name__)

_REFUSED = 2
_FAILED = 1
_NAMES: dict[Role, str] = {"engine": "linnaeus-engine", "front_end": "linnaeus-front"}


def run_process(role: Role, control: socket.socket) -> None:
    """Runs the process to its end, with a socket to the supervisor.

    It has a process group of its own, so that Ctrl-C in a terminal reaches the supervisor alone, but no session: Linux
    gives each session an equal part of the processor, in which a low priority counts for nothing (sched(7), autogroup).
    """
    os.setpgid(0, 0)
    show_thread_name(_NAMES[role])
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        status = runner.run(_run_child(control))
    end_process_if_threads_remain(status)
    sys.exit(status)


async def _run_child(opened: socket.socket) -> int:
    """Is what the supervisor says, until SIGTERM; returns the exit code."""
    control = Control()
    await control.open(opened)
    start = await control.start
    settings = TypeAdapter(Settings).validate_json(start.settings)
    configure_logs(settings.log_format, settings.log_level)
    try:
        if start.role == "engine":
            from linnaeus.server.app.engine_process import run_engine

            await run_engine(settings, start.link_path, control)
        else:
            from linnaeus.server.app.front_end_process import run_front_end

            await run_front_end(settings, start.number, control)
    except StartupError as error:
        control.send(Refusal(str(error)))
        control.flush()
        return _REFUSED
    except ServerFailed as error:
        logger.critical("%s", error)
        return _FAILED
    return 0
