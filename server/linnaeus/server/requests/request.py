"""A request, its payload in the scheduler, its outcome and its timings.

Types created for every request are named tuples: a frozen dataclass takes three times as long to create. This module
must not depend on gRPC or on the engine.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeAlias

from linnaeus.models.manifest import InputSpec
from linnaeus.server.errors import RequestError
from linnaeus.server.requests.lane_key import LaneKey
from linnaeus.server.requests.picture import Picture
from linnaeus.server.requests.request_record import BatchRecord
from linnaeus.server.runtime.ranking import Ranking
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.scheduling import Batch, Ticket
from linnaeus.server.scheduling import (
    PredictionError as PredictionError,  # re-exported, with Priority, for the engine's callers
)
from linnaeus.server.scheduling import Priority as Priority


class Request(NamedTuple):
    """One image to classify.

    Attributes:
        image: the image as received.
        model: name of the model; empty for the default model.
        version: number or label of the version; empty for the default.
        top_k: number of classes to return; 0 for the default.
        deadline: time on the engine's clock by which the answer must arrive, in seconds; None for no deadline.
        priority: precedence under load.
        caller: identity of the caller as given by the transport; empty if unknown.
        min_probability: leaves out the classes that are less probable; 0.0 leaves out none.
        want_features: whether to return the features, too.
    """

    image: Picture
    model: str = ""
    version: str = ""
    top_k: int = 0
    deadline: float | None = None
    priority: Priority = Priority.NORMAL
    caller: str = ""
    min_probability: float = 0.0
    want_features: bool = False


class TimedRanking(NamedTuple):
    """The ranking of one image, the size of its batch and the seconds spent in each stage."""

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
    """A sequence of an answer's classes, best first. Elements are created on access, since most are never read.

    Attributes:
        ranking: indices and probabilities of the classes.
        labels: labels of all classes of the model, by index.
    """

    ranking: Ranking
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.ranking.indices)

    def __getitem__(self, rank: int) -> ScoredClass:
        index = self.ranking.indices[rank]
        return ScoredClass(index, self.labels[index], self.ranking.probabilities[rank])

    def __iter__(self) -> Iterator[ScoredClass]:
        return map(self.__getitem__, range(len(self)))


class Classification(NamedTuple):
    """The answer to one request.

    Attributes:
        ranking: indices and probabilities of the best classes, best first.
        labels: labels of all classes of the model, by index.
        model, version: the model version that answered.
        batch_size: number of images in the batch.
        decode_seconds, queue_seconds, inference_seconds: time spent in each stage.
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
    """The part of a future's interface that the engine uses to complete a request. Event loop's thread only."""

    def done(self) -> bool:
        """Returns whether the request has a result or an error, or was cancelled."""

    def set_result(self, ranked: TimedRanking, /) -> None:
        """Completes the request with a ranking."""

    def set_exception(self, error: RequestError, /) -> None:
        """Completes the request with an error."""


@dataclass(slots=True, eq=False)
class RequestPayload:
    """The payload of a ticket: the image, its decoded pixels and the future of its answer.

    One thread at a time owns it, except `future`, which only the event loop's thread may call.

    Attributes:
        number: number of the request, unique within the engine.
        image: the image as received; None where it is decoded in another process.
        input: shape and preprocessing of the model's input; None likewise.
        top_k: number of classes to return.
        future: receives the result.
        pixels: the decoded image, uint8 [H, W, C]; None until decoded.
        min_probability, want_features: as in `Request`.
        decode_seconds: time spent decoding.
        batch: record of the image's batch; None if it is in no batch or no record handler is set.
    """

    number: int
    image: Picture | None
    input: InputSpec | None
    top_k: int
    future: ResultFuture
    pixels: Pixels | None = None
    min_probability: float = 0.0
    want_features: bool = False
    decode_seconds: float = 0.0
    batch: BatchRecord | None = None

    @property
    def to_decode(self) -> tuple[Picture, InputSpec]:
        """The image as received, and the model's input.

        Raises:
            LookupError: if the image is decoded in another process.
        """
        if self.image is None or self.input is None:
            raise LookupError("the image is not in this process")
        return self.image, self.input

    @property
    def content(self) -> Pixels:
        """The decoded pixels, uint8 [H, W, C].

        Raises:
            LookupError: if the image is not decoded.
        """
        if self.pixels is None:
            raise LookupError("the image is not decoded yet")
        return self.pixels


RequestTicket: TypeAlias = Ticket[RequestPayload]
RequestBatch: TypeAlias = Batch[RequestPayload]


def lane_key_of(lane_member: RequestTicket | RequestBatch) -> LaneKey:
    """Returns the key of a ticket's or batch's lane."""
    lane: LaneKey = lane_member.lane  # type: ignore[assignment]  # the queue accepts any hashable key
    return lane


class ItemOutcome(NamedTuple):
    """The result of one image: a ranking from a run of `batch_size` images, or an error."""

    ticket: RequestTicket
    result: Ranking | RequestError
    batch_size: int
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """The results of one batch.

    Attributes:
        lane: key of the batch's lane.
        device: name of the device.
        size: number of images that were run; 0 if all were late.
        inference_seconds: time of the run; 0.0 if nothing was run.
        items: one outcome for each image, including those that were late.
        finished_at: end of the run, in seconds of the engine's clock.
    """

    lane: LaneKey
    device: str
    size: int
    inference_seconds: float
    items: list[ItemOutcome]
    finished_at: float


class RequestTimings(NamedTuple):
    """The time that one answered request spent in each stage, in seconds.

    `prediction_error_seconds` is the time of the answer minus the time predicted at admission; None without a deadline,
    for which nothing is predicted.
    """

    decode_seconds: float
    queue_seconds: float
    inference_seconds: float
    respond_seconds: float
    total_seconds: float
    prediction_error_seconds: float | None


@dataclass(frozen=True, slots=True)
class BatchReport:
    """The metrics of one batch.

    Attributes:
        model, version: the model version.
        size: number of images that were run; 0 if all were late.
        requests: timings of the requests that were answered.
        failed: number of images that ended with an internal failure.
        device: name of the device.
        inference_seconds: time of the run; 0.0 if nothing was run.
    """

    model: str
    version: int
    size: int
    requests: list[RequestTimings]
    failed: int
    device: str
    inference_seconds: float
