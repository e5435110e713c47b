"""Notices what changes in the repository, by looking every few seconds.

The kernel can tell of changes (inotify), but not of those on network volumes, nor of those behind symbolic links, which
is how clusters mount what they configure. Looking costs one `stat` a file and works alike everywhere.
"""

import asyncio
import logging

from linnaeus.server.model_store.model_manager import ModelManager

logger = logging.getLogger(__name__)


async def watch(model_manager: ModelManager, seconds: float) -> None:
    """Follows the repository's changes until it is cancelled; a repository that cannot be read changes nothing."""
    trouble = ""
    while True:
        await asyncio.sleep(seconds)
        try:
            await model_manager.reconcile_changes()
            trouble = ""
        except OSError as error:
            if str(error) != trouble:
                trouble = str(error)
                logger.error("the repository cannot be followed, what is served stays as it is: %s", trouble)
        except Exception as error:  # the boundary: a fault of ours must not end the watch
            logger.error("following the repository failed", exc_info=error)
