"""A process that the supervisor starts: the engine or a front end.

    python -m linnaeus.server.app.child ROLE FD

FD is a socket to the supervisor, which first says what the process is to be; ROLE is for those who list processes. If
the supervisor is gone, so is the process.
"""

import asyncio
import logging
import os
import sys

from pydantic import TypeAdapter

from linnaeus.server.app.control import Control
from linnaeus.server.config.settings import Settings
from linnaeus.server.errors import ServerFailed, StartupError
from linnaeus.server.link.control_messages import Refusal
from linnaeus.server.observability.logs import configure_logs
from linnaeus.server.process.ending import end_process_if_threads_remain
from linnaeus.server.process.event_loop import new_event_loop
from linnaeus.server.process.openmp import limit_spinning

logger = logging.getLogger(__name__)

_REFUSED = 2
_FAILED = 1


async def run_child(descriptor: int) -> int:
    """Is what the supervisor says, until SIGTERM; returns the exit code."""
    control = Control()
    await control.open(descriptor)
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


def main() -> None:
    """Runs the process to its end."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    limit_spinning()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        status = runner.run(run_child(int(sys.argv[2])))
    end_process_if_threads_remain(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
