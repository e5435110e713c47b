"""What travels between the folders: a request, its payload in the scheduler, its outcome and its timings.

What every image makes anew is a named tuple: a frozen dataclass takes three times as long to make.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from linnaeus.models.manifest import InputSpec
from linnaeus.server.errors import RequestError
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.picture import Picture
from linnaeus.server.requests.request_record import BatchRecord
from linnaeus.server.runtime.model import Pixels, Ranking
from linnaeus.server.scheduling import Batch, Ticket
from linnaeus.server.scheduling import (
    PredictionError as PredictionError,  # these two are for those who speak with the engine
)
from linnaeus.server.scheduling import Priority as Priority


class Request(NamedTuple):
    """One image to classify.

    Attributes:
        image: the picture as it came.
        model, version: as in the contract; empty for the defaults.
        top_k: classes to return; 0 for the default.
        deadline: the engine clock's time after which the answer is worth nothing; None for never.
        priority: who goes first where there is too much to do.
        caller: who asks, as the transport knows them; empty for unknown.
    """

    image: Picture
    model: str = ""
    version: str = ""
    top_k: int = 0
    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    caller: str = ""


class TimedRanking(NamedTuple):
    """One image's ranking with how it was made."""

    ranking: Ranking
    batch_size: int
    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class of an answer."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class ScoredClasses:
    """The classes of an answer, best first; each is put together when it is looked at, for few look at a thousand.

    Attributes:
        ranking: their indices and probabilities, as they came from the device.
        labels: of all the model's classes, by index.
    """

    ranking: Ranking
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.ranking.indices)

    def __getitem__(self, place: int) -> ScoredClass:
        index = self.ranking.indices[place]
        return ScoredClass(index, self.labels[index], self.ranking.probabilities[place])

    def __iter__(self) -> Iterator[ScoredClass]:
        return map(self.__getitem__, range(len(self)))


class Classification(NamedTuple):
    """An answer: the best classes, who gave it, and where the time went.

    Attributes:
        ranking: the classes' indices and probabilities, best first.
        labels: of all the model's classes, by index.
        model, version: who gave it.
        batch_size: images in the run that it is from.
        decode_seconds, queue_seconds, inference_seconds: where the time went.
    """

    ranking: Ranking
    labels: Sequence[str]
    model: str
    version: int
    batch_size: int
    decode_seconds: float
    queue_seconds: float
    inference_seconds: float

    @property
    def classes(self) -> ScoredClasses:
        """The classes with their labels, best first."""
        return ScoredClasses(self.ranking, self.labels)


class ResultFuture(Protocol):
    """Where an image's answer goes, as into a future."""

    def done(self) -> bool:
        """Whether there is one, or nobody wants it any more."""

    def set_result(self, ranked: TimedRanking, /) -> None:
        """Gives it."""

    def set_exception(self, error: RequestError, /) -> None:
        """Says why there is none."""


@dataclass(slots=True, eq=False)
class RequestPayload:
    """An image on its way through the engine.

    `future` belongs to the event loop; other threads only carry it.

    Attributes:
        number: counts the engine's requests.
        image: the picture as it came.
        input: what the model takes.
        top_k: classes to return.
        future: what the caller waits for, or is told by.
        pixels: the picture decoded, uint8 [H, W, C]; None before.
        decode_seconds: how long that took.
        batch: that it is part of; None if it is not, or no record handler is set.
    """

    number: int
    image: Picture
    input: InputSpec
    top_k: int
    future: ResultFuture
    pixels: Pixels | None = None
    decode_seconds: float = 0.0
    batch: BatchRecord | None = None

    @property
    def content(self) -> Pixels:
        """The pixels of a picture that was decoded."""
        if self.pixels is None:
            raise LookupError("a picture that was not decoded has no pixels")
        return self.pixels


RequestTicket: TypeAlias = Ticket[RequestPayload]
RequestBatch: TypeAlias = Batch[RequestPayload]


def lane_key_of(what: RequestTicket | RequestBatch) -> LaneKey:
    """The model's name, version and generation, which is what the engine calls its lanes."""
    lane: LaneKey = what.lane  # type: ignore[assignment]  # to the queue any key would do
    return lane


class ItemOutcome(NamedTuple):
    """What became of one image: a ranking from a run of `batch_size` images, or an error."""

    ticket: RequestTicket
    result: Ranking | RequestError
    batch_size: int
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of one batch.

    Attributes:
        lane: the model's name, version and generation.
        device: who ran it.
        size: images in the run; 0 if all were late.
        inference_seconds: the run's time; 0.0 if there was none.
        items: one for each image, those that were late included.
        finished_at: the clock's time when the device was done.
    """

    lane: LaneKey
    device: str
    size: int
    inference_seconds: float
    items: list[ItemOutcome]
    finished_at: float


class RequestTimings(NamedTuple):
    """Where one answered image spent its time, in seconds.

    `prediction_error_seconds` is above 0 if the answer came later than predicted at admission.
    """

    decode_seconds: float
    queue_seconds: float
    inference_seconds: float
    respond_seconds: float
    total_seconds: float
    prediction_error_seconds: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What the metrics learn of one batch: its size, and the times of the images that were answered.

    `inference_seconds` is how long the worker of that device was busy with it; 0.0 if there was no run.
    """

    model: str
    version: int
    size: int
    requests: list[RequestTimings]
    failed: int
    device: str
    inference_seconds: float
