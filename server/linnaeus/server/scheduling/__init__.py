"""The batch queue: standard library only, no torch, no gRPC, no asyncio; time comes from an injected clock.

Each module imports only those named before it: `tickets`, `sliding_quantile`, `deadline_queue`; measurements
(`batch_latency`, `service_rate`, `prediction_margin`, `cancelling_callers`); data (`lanes`); decisions (`policy`,
`completion_estimate`, `admission`); the state that they change (`fair_time`, `ticket_transitions`, `queue_state`,
`running_batches`). Threads call `queue`, which adds the lock; `thread_wakeup` chooses the threads to wake.
"""

from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.lanes import LaneLimits
from linnaeus.server.scheduling.queue import BatchQueue, PredictionError
from linnaeus.server.scheduling.tickets import (
    Batch,
    DecodeTurn,
    LaneClosed,
    NoDevice,
    Priority,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
    TooLate,
)

__all__ = [
    "Batch",
    "BatchQueue",
    "PredictionError",
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
    "DecodeTurn",
]
