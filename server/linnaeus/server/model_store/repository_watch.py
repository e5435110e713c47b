"""Watches the repository for changes by polling.

The kernel's notifications (inotify) miss changes on network volumes and behind symbolic links, which is how clusters
mount configuration. Polling costs one `stat` for each file and works everywhere.
"""

import asyncio
import logging

from linnaeus.server.model_store.model_manager import ModelManager

logger = logging.getLogger(__name__)


async def watch(model_manager: ModelManager, seconds: float) -> None:
    """Reconciles the repository's changes until cancelled; while it cannot be read, the served versions stay.

    Args:
        model_manager: loads and unloads versions.
        seconds: interval between two checks.
    """
    last_error = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            await model_manager.reconcile_changes()
            last_error = ""
        except OSError as error:
            if str(error) != last_error:
                last_error = str(error)
                logger.error("the repository cannot be followed, what is served stays as it is: %s", last_error)
        except Exception as error:  # an internal failure must not end the watch
            logger.error("following the repository failed", exc_info=error)
