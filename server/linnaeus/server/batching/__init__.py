"""The batch queue: standard library only, no torch, no gRPC, no asyncio; time comes from an injected clock."""

from linnaeus.server.batching.queue import (
    AlreadyLate,
    Batch,
    BatchQueue,
    LaneLimits,
    QueueClosed,
    QueueFull,
    Stage,
    Ticket,
)

__all__ = ["AlreadyLate", "Batch", "BatchQueue", "LaneLimits", "QueueClosed", "QueueFull", "Stage", "Ticket"]
