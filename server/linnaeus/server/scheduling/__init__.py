"""The batch scheduler. It uses only the standard library: no torch, no gRPC, no asyncio. The clock is injected.

Each module imports only modules listed before it: `tickets`, `sliding_quantile`, `deadline_queue`; measurements
(`batch_latency`, `service_rate`, `prediction_margin`, `cancelling_callers`); data (`lanes`); decisions (`policy`,
`completion_estimate`, `admission`); the state that the decisions change (`fair_time`, `ticket_transitions`,
`queue_state`, `running_batches`); `thread_wakeup`, which chooses the threads to wake; and `queue`, the only module that
takes the lock. Other folders call `queue`.
"""

from linnaeus.server.scheduling.batch_latency import LatencyTable
from linnaeus.server.scheduling.decode_costs import UNKNOWN_WORK, DecodeWork
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
    "DecodeWork",
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
    "UNKNOWN_WORK",
    "DecodeTurn",
]
