"""The background tasks of the server go on after a fault."""

import asyncio
from functools import partial
from types import SimpleNamespace
from typing import Any

from tests.server.injected_faults import FailsFirst

from linnaeus.server.app.observed_engine import publish_changes
from linnaeus.server.process.supervised_task import keep_running
from linnaeus.server.process.supervisor import Supervisor


class FakeHealth:
    """A health that records the health of devices."""

    def __init__(self) -> None:
        self.published: asyncio.Queue[bool] = asyncio.Queue()
        self.publish = FailsFirst(self.published.put_nowait, ZeroDivisionError, 0)

    async def set_device_status(self, name: str, is_working: bool) -> None:
        self.publish(is_working)

    async def set_serving(self) -> None:
        """Does nothing."""


async def test_a_change_of_health_is_published_although_the_first_attempt_fails() -> None:
    faults: list[str] = []
    catalog = SimpleNamespace(entries=list)
    core = SimpleNamespace(unready_reason="")
    states = {"cpu": True}
    engine: Any = SimpleNamespace(device_states=states, health_changed=asyncio.Event(), catalog=catalog, core=core)
    health: Any = FakeHealth()
    metrics: Any = SimpleNamespace(drop_unserved=lambda entries: None)
    work = partial(publish_changes, engine, health, metrics)
    task = asyncio.create_task(keep_running("health", work, Supervisor(faults.append)))
    assert await asyncio.wait_for(health.published.get(), 60) is True
    health.publish.left = 1
    engine.device_states = {"cpu": False}
    engine.health_changed.set()
    assert await asyncio.wait_for(health.published.get(), 60) is False
    assert faults == ["health"]
    task.cancel()
