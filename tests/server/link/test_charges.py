"""Charges across the link: front ends share a caller's rate, and what waits ends with the engine or its caller."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from linnaeus.server.config.settings import Settings
from linnaeus.server.engine.core import EngineCore
from linnaeus.server.errors import Unavailable
from linnaeus.server.link.core_server import CoreServer
from linnaeus.server.link.remote_core import RemoteCore
from linnaeus.server.model_store.catalog import Catalog
from linnaeus.server.process.supervisor import Supervisor
from linnaeus.server.requests.event_log import NullEventLog
from linnaeus.server.rpc.kserve.statistics import Statistics

BURST = 10


class Host:
    """A core without models, its server, and front ends."""

    def __init__(self, observer: Any, folder: Path) -> None:
        settings = Settings(repository=folder, device="cpu", rate_limit=0.001, rate_burst=BURST)
        self.path, self.front_ends = str(folder / "link"), list[RemoteCore]()
        core = EngineCore(settings, observer, lambda: 100.0, NullEventLog(), Supervisor())
        self.server = CoreServer(core, observer, Statistics(), NullEventLog(), time.monotonic, Supervisor())

    async def add_front_end(self) -> RemoteCore:
        remote = RemoteCore(Catalog("", frozenset()), time.monotonic, Supervisor())
        self.front_ends.append(remote)
        remote.connect_soon(self.path)
        await remote.prepare()
        return remote

    async def close(self) -> None:
        for remote in self.front_ends:
            await remote.close()
            remote.queue.memory.close()
        self.server.close()


@pytest.fixture
async def host(observer: Any, tmp_path: Path) -> AsyncIterator[Host]:
    started = Host(observer, tmp_path)
    await started.server.listen(started.path)
    yield started
    await started.close()


async def test_a_caller_gets_its_burst_once_however_many_front_ends_it_calls(host: Host) -> None:
    front_ends = [await host.add_front_end() for _ in range(3)]
    waits = await asyncio.gather(*(each.charge("caller", 1.0) for each in front_ends * 8))
    assert waits.count(0.0) == BURST and all(wait >= 0.0 for wait in waits)
    assert await front_ends[0].charge("another caller", BURST) == 0.0


async def test_charges_are_answered_in_their_order(host: Host) -> None:
    remote = await host.add_front_end()
    waits = await asyncio.gather(*(remote.charge("caller", 4.0) for _ in range(4)))
    assert waits[:2] == [0.0, 0.0] and min(waits[2:]) > 0.0


async def test_a_charge_whose_caller_left_disturbs_no_other(host: Host) -> None:
    remote = await host.add_front_end()
    left, stays = (asyncio.create_task(remote.charge("caller", 4.0)) for _ in range(2))
    await asyncio.sleep(0)
    left.cancel()
    assert await stays == 0.0 and left.cancelled()
    assert await remote.charge("caller", 2.0) == 0.0


async def test_charges_end_when_the_engine_is_gone_and_none_begins(host: Host) -> None:
    remote = await host.add_front_end()
    waiting = asyncio.create_task(remote.charge("caller", 1.0))
    await asyncio.sleep(0)
    host.server.close()
    for each in (waiting, remote.charge("caller", 1.0)):
        with pytest.raises(Unavailable, match="try again") as refused:
            await each
        assert refused.value.retry_after_seconds > 0
