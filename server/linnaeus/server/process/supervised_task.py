"""Tasks of the event loop that serve until they are cancelled: a fault is reported and the task begins again."""

from collections.abc import Awaitable, Callable

from linnaeus.server.process.supervisor import ESCAPES, RestartLimit, Supervisor


async def keep_running(part: str, work: Callable[[], Awaitable[None]], supervisor: Supervisor) -> None:
    """Awaits `work()` until it returns; awaits it again if it raises, and ends the server if it keeps failing.

    Args:
        part: the part of the server, as reports name it.
        work: begins the work, again after each fault.
        supervisor: receives the faults.
    """
    restarts = RestartLimit(supervisor.clock)
    while True:
        try:
            return await work()
        except ESCAPES as error:
            supervisor.report(part, error)
        if not restarts.allows_restart():
            return supervisor.end_server(part)
