"""An engine with its core in the same process."""

import time
from collections.abc import Callable

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.core import EngineCore
from linnaeus.server.engine.engine import Engine
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import EventLog, NullEventLog
from linnaeus.server.requests.observer import Observer
from linnaeus.server.requests.request_record import RecordHandler


class LocalEngine(Engine):
    """An engine and its core. Args and methods as of `Engine`.

    Attributes:
        core: the queue, the devices and the models.
    """

    core: EngineCore

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        clock: Callable[[], float] = time.monotonic,
        event_log: EventLog | None = None,
        record_handler: RecordHandler | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        event_log = event_log or NullEventLog()
        supervisor = supervisor or Supervisor()
        core = EngineCore(settings, observer, clock, event_log, supervisor, record_handler)
        super().__init__(settings, core, observer, clock, event_log, record_handler, supervisor)
