"""The batch queue: standard library only, no torch, no gRPC, no asyncio; time comes from an injected clock.

Rooms, each of which knows those before it only: `tickets`, `window`, `waiting`; what is learnt (`latency`, `drain`,
`foresight`, `habits`); what is kept (`lanes`); what is decided (`policy`, `forecast`, `gate`); who carries it out
(`ledger`). The door for threads is `queue`, `waking` says which of them sleep.
"""

from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.lanes import LaneLimits
from linnaeus.server.scheduling.queue import BatchQueue, Foreseen
from linnaeus.server.scheduling.tickets import (
    Batch,
    LaneClosed,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
    TooLate,
    Turn,
)

__all__ = [
    "Batch",
    "BatchQueue",
    "Foreseen",
    "LaneClosed",
    "LaneLimits",
    "LatencyTable",
    "NoDevice",
    "Priority",
    "QueueClosed",
    "QueueFull",
    "Stage",
    "Ticket",
    "TooLate",
    "Turn",
]
