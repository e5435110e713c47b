"""The operators' operations on models, carried out by a core in another process."""

from collections.abc import Callable
from typing import Any

from linnaeus.server.link.messages import Message, Operate
from linnaeus.server.model_store.catalog import Entry


class RemoteOperations:
    """Implements `ModelOperations`; its methods are those of `ModelManager`."""

    def __init__(self, call: Callable[[Callable[[int], Message]], Any]) -> None:
        self._call = call

    async def load_model(self, model: str) -> list[Entry]:
        """Loads the versions that are wanted and not served."""
        return await self._operate("load_model", model)

    async def unload_model(self, model: str, version: str = "") -> list[Entry]:
        """Stops serving a version, or all versions."""
        return await self._operate("unload_model", model, version)

    async def reload_model(self, model: str) -> list[Entry]:
        """Loads the versions anew."""
        return await self._operate("reload_model", model)

    async def set_default_version(self, model: str, version: str) -> Entry:
        """Sets the version that answers requests that name none."""
        (entry,) = await self._operate("set_default_version", model, version)
        return entry

    async def _operate(self, operation: str, *arguments: str) -> list[Entry]:
        entries: list[Entry] = await self._call(lambda call: Operate(call, operation, list(arguments)))
        return entries
