"""What became of a request, for record handlers: when it was at which stage, and in which batch.

Knows neither spans nor logs, and holds nothing of a picture but its size. Without a handler nothing here is made.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from linnaeus.server.scheduling import Priority


@dataclass(slots=True, eq=False)
class BatchRecord:
    """One batch on a device, as all its requests share it. Times are the engine clock's.

    Attributes:
        number: counts the batches.
        model, version, device: whose it was, and who ran it.
        size: images in it.
        taken_at: when the device took it.
        finished_at: when the device was done; 0.0 before.
        succeeded: whether it ran without a failure of ours.
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
    """When one stage of a request began and ended."""

    name: str
    began_at: float
    ended_at: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that is over. Times are the engine clock's.

    Attributes:
        number: counts the engine's requests.
        model, version: that were meant; empty and 0 if there is none such.
        outcome: `answered`, `cancelled` if its caller left, else why there is no answer, in a word.
        priority: of the request.
        image_bytes: the picture's size as it came.
        timeout_seconds: how long it could have taken; None for any time.
        arrived_at, ended_at: the first and the last moment.
        decode_seconds: how long decoding took.
        decoded_at: when that was done; 0.0 if it never was.
        run: that it was part of; None if it never was.
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
        """Its stages in order, each beginning where the one before ended.

        They are `decoder_queue`, `decode`, `queue` (for a device) and `inference`. The last one is cut where the
        request ended; a request whose picture was never decoded has none.
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
        done_at = self.batch.finished_at or self.ended_at  # a caller who left may have been faster than the device
        yield StageTiming("inference", self.batch.taken_at, min(done_at, self.ended_at))


class RecordHandler(Protocol):
    """Takes the records of sampled requests. Called on the event loop's thread; must not raise or block."""

    def sample(self, number: int) -> object | None:
        """Decides, in the task of the call, whether a request is recorded.

        Returns:
            The context that `request_ended` gets; None if the request is not recorded.
        """

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """A sampled request has ended; `context` is what `sample` returned."""

    def batch_ended(self, batch: BatchRecord) -> None:
        """A batch has run, and its requests have ended, unless a removed device gave them back."""


class RecordHandlers:
    """Several handlers of the same engine's records."""

    def __init__(self, *handlers: RecordHandler) -> None:
        self._handlers = handlers

    def sample(self, number: int) -> object | None:
        """Asks every handler."""
        contexts = [handler.sample(number) for handler in self._handlers]
        return None if all(context is None for context in contexts) else contexts

    def request_ended(self, context: object, record: RequestRecord) -> None:
        """Passes a record to each handler that sampled the request."""
        if isinstance(context, list):
            for handler, own in zip(self._handlers, context, strict=True):
                if own is not None:
                    handler.request_ended(own, record)

    def batch_ended(self, batch: BatchRecord) -> None:
        """Passes a batch to every handler."""
        for handler in self._handlers:
            handler.batch_ended(batch)
