"""What every kind of hostile load has in common: whom it calls, and what it tells about itself afterwards."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import Protocol

# Calls that have no answer so long after the last one was sent are given up.
PATIENCE_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Target:
    """A server as one caller sees it: its address, and the caller's token; None for no token."""

    address: str
    token: str | None = None

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What each call carries."""
        return () if self.token is None else (("authorization", f"Bearer {self.token}"),)


@dataclass(frozen=True, slots=True)
class HostileCalls:
    """What was sent in one attack.

    Attributes:
        last_sent: seconds of `time.monotonic` when the last hostile request was sent.
        ended: how many calls ended in which status, or in which other way.
        processor_seconds: of the attacker.
    """

    last_sent: float
    ended: Counter[str]
    processor_seconds: float = 0.0


class HostileLoad(Protocol):
    """One kind of hostile load; picklable, since it is sent from a process of its own."""

    async def send(self, target: Target, seconds: float) -> HostileCalls:
        """Sends hostile requests for `seconds`, then waits for their ends for at most `PATIENCE_SECONDS`."""


def send(load: HostileLoad, target: Target, seconds: float) -> HostileCalls:
    """Sends a hostile load from this process, whose processor time is counted."""
    before = time.process_time()
    calls = asyncio.run(load.send(target, seconds))
    return replace(calls, processor_seconds=time.process_time() - before)
