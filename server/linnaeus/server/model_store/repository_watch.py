"""Watches the repository for changes by polling.

The kernel's notifications (inotify) miss changes on network volumes and behind symbolic links, which is how clusters
mount configuration. Polling costs one `stat` for each file and works everywhere.
"""

import asyncio
import logging

from linnaeus.server.model_store.model_manager import ModelManager
from linnaeus.server.process.supervisor import ESCAPES, Supervisor
from linnaeus.text_files import reason_of

logger = logging.getLogger(__name__)


# The name of the watch in reports of faults.
WATCH_PART = "repository_watch"


async def watch(model_manager: ModelManager, seconds: float, supervisor: Supervisor) -> None:
    """Reconciles the repository's changes until cancelled; while it cannot be read, the served versions stay.

    Args:
        model_manager: loads and unloads versions.
        seconds: interval between two checks.
        supervisor: receives faults; none of them ends the watch.
    """
    last_error = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            await model_manager.reconcile_changes()
            last_error = ""
        except OSError as error:
            reason = f"{error.filename or ''}: {reason_of(error)}".removeprefix(": ")
            if reason != last_error:
                last_error = reason
                logger.error("the repository cannot be followed, what is served stays as it is: %s", last_error)
        except ESCAPES as error:
            supervisor.report(WATCH_PART, error, "following the repository")
