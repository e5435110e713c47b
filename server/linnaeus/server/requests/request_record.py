"""Records of finished requests and batches, and the protocol of their handlers.

A record holds times and identifiers, and of the image only its size in bytes. Records are created only if a handler is
set. This module must not know how handlers use the records (spans, logs).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from linnaeus.server.scheduling import Priority


@dataclass(slots=True, eq=False)
class BatchRecord:
    """The record of one batch, shared by its requests. Times are seconds of the engine's clock.

    Attributes:
        number: number of the batch.
        model, version: the model version.
        device: name of the device that ran it.
        size: number of images.
        taken_at: time at which the device took it.
        finished_at: time at which the device finished it; 0.0 until then.
        succeeded: whether it ran without an internal failure.
    """

    number: int
    model: str
    version: int
    device: str
    size: int
    taken_at: float
    finished_at: float = 0.0
    succeeded: bool = False


class StageTiming(NamedTuple):
    """The start and end of one stage of a request, in seconds of the engine's clock."""

    name: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """The record of a finished request. Times are seconds of the engine's clock.

    Attributes:
        number: number of the request, unique within the engine.
        model, version: the model version named by the request; empty and 0 if it does not exist.
        outcome: `answered`, `cancelled`, or the value of `rejection_reason`.
        priority: priority of the request.
        image_bytes: size of the image as received.
        timeout_seconds: time from arrival to the deadline; None for no deadline.
        arrived_at, ended_at: start and end of the request.
        decode_seconds: time spent decoding.
        decoded_at: end of decoding; 0.0 if the image was not decoded.
        batch: record of the request's batch; None if it was in none.
    """

    number: int
    model: str
    version: int
    outcome: str
    priority: Priority
    image_bytes: int
    timeout_seconds: float | None
    arrived_at: float
    ended_at: float
    decode_seconds: float = 0.0
    decoded_at: float = 0.0
    batch: BatchRecord | None = None

    def stages(self) -> Iterator[StageTiming]:
        """Yields the stages in order, each starting at the end of the previous one.

        The stages are `decoder_queue`, `decode`, `queue` (for a device) and `inference`. The last one ends with the
        request. A request whose image was not decoded has no stages.
        """
        if not self.decoded_at:
            return
        decode_began_at = max(self.decoded_at - self.decode_seconds, self.arrived_at)
        yield StageTiming("decoder_queue", self.arrived_at, decode_began_at)
        yield StageTiming("decode", decode_began_at, self.decoded_at)
        if self.batch is None:
            yield StageTiming("queue", self.decoded_at, self.ended_at)
            return
        yield StageTiming("queue", self.decoded_at, self.batch.taken_at)
        done_at = self.batch.finished_at or self.ended_at  # a cancelled request may end before its batch
        yield StageTiming("inference", self.batch.taken_at, min(done_at, self.ended_at))


class RecordHandler(Protocol):
    """A receiver of the records of sampled requests. Called on the event loop's thread; must not raise or block."""

    def sample(self, number: int) -> object | None:
        """Decides whether a request is recorded. Called in the asyncio task of the call.

        Returns:
            The context to pass to `request_ended`; None if the request is not recorded.
        """

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Handles the end of a sampled request; `context` is the return value of `sample`."""

    def batch_ended(self, batch: BatchRecord) -> None:
        """Handles the end of a batch, after its requests ended or a removed device returned them to the queue."""


class NoRecords:
    """A record handler that has batches recorded, for front ends, and records nothing itself."""

    def sample(self, number: int) -> object | None:
        """Returns None: no request is recorded here."""
        return None

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Does nothing."""

    def batch_ended(self, batch: BatchRecord) -> None:
        """Does nothing."""


class RecordHandlers:
    """A list of record handlers, each with a context of its own."""

    def __init__(self, *handlers: RecordHandler) -> None:
        self._handlers = handlers

    def sample(self, number: int) -> object | None:
        """Returns the contexts of all handlers, or None if no handler records the request."""
        contexts = [handler.sample(number) for handler in self._handlers]
        return None if all(context is None for context in contexts) else contexts

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Passes the record to each handler that sampled the request."""
        if isinstance(context, list):
            for handler, own in zip(self._handlers, context, strict=True):
                if own is not None:
                    handler.request_ended(own, record)

    def batch_ended(self, batch: BatchRecord) -> None:
        """Passes the batch to every handler."""
        for handler in self._handlers:
            handler.batch_ended(batch)
