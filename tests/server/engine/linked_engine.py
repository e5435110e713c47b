"""An engine whose core is on the other end of a socket, in the same process and event loop."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.core import EngineCore
from linnaeus.server.engine.engine import Engine
from linnaeus.server.link.core_server import CoreServer
from linnaeus.server.link.remote_core import RemoteCore
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import EventLog, NullEventLog
from linnaeus.server.requests.observer import Observer
from linnaeus.server.rpc.kserve.statistics import Statistics


class LinkedEngine(Engine):
    """An engine, its core and the link between them; for tests it has the attributes of `LocalEngine`."""

    core: Any

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        event_log: EventLog | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        event_log = event_log or NullEventLog()
        supervisor = supervisor or Supervisor()
        core = EngineCore(settings, observer, clock, event_log, supervisor)
        self.server = CoreServer(core, observer, Statistics(), event_log, clock, supervisor)
        self.remote = RemoteCore(
            Catalog(settings.default_model, settings.wanted_models), clock, supervisor, event_log.is_on
        )
        super().__init__(settings, self.remote, self.remote, clock, self.remote.event_log, None, supervisor)
        self.core = core
        self._folder = tempfile.TemporaryDirectory()

    async def load(self) -> None:
        """Starts both ends."""
        path = str(Path(self._folder.name) / "link")
        await self.server.listen(path)
        self.remote.connect_soon(path)
        await self.remote.prepare()
        self._decoders.start(self.remote.decoders)
        await self.core.load()
        self.server.loaded()
        self._publishing = asyncio.create_task(self._publish_devices())
        await self.remote.load()

    @property
    def device_states(self) -> Mapping[str, bool]:
        """What the engine's end of the link says."""
        return self.remote.device_states

    async def _publish_devices(self) -> None:
        while True:
            self.core.health_changed.clear()
            self.server.publish_devices()
            await self.core.health_changed.wait()

    async def close(self) -> None:
        """Ends both."""
        self.drain()
        await self.core.close()
        await self.remote.close()
        await asyncio.to_thread(self._decoders.join, 60.0)
        self.remote.queue.memory.close()
        self.server.close()
        self._publishing.cancel()
        self._folder.cleanup()
