"""What travels between the engine's rooms."""

from asyncio import Future
from dataclasses import dataclass
from typing import TypeAlias

from linnaeus.server.batching import Batch, Ticket
from linnaeus.server.engine.decode import EncodedImage, RawPixels
from linnaeus.server.errors import RequestError
from linnaeus.server.runtime.model import Pixels, Ranking


@dataclass(frozen=True, slots=True)
class Request:
    """One image to classify.

    Attributes:
        image: the picture as it came.
        model, version: as in the contract; empty for the defaults.
        top_k: classes to return; 0 for the default.
        deadline: the engine clock's time after which the answer is worth nothing; None for never.
    """

    image: EncodedImage | RawPixels
    model: str = ""
    version: str = ""
    top_k: int = 0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
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
class Classification:
    """An answer: classes best first, who gave it, and where the time went."""

    classes: tuple[ScoredClass, ...]
    model: str
    version: int
    batch_size: int
    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class Work:
    """A decoded image on its way to the device.

    `answer` belongs to the event loop; other threads only carry it.
    """

    pixels: Pixels
    top_k: int
    answer: "Future[Ranked]"
    admitted_at: float
    decode_seconds: float


WorkTicket: TypeAlias = Ticket[Work]
WorkBatch: TypeAlias = Batch[Work]


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one image: a ranking from a run of `batch_size` images, or an error."""

    ticket: WorkTicket
    work: Work
    result: Ranking | RequestError
    batch_size: int
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class BatchOutcome:
    """What became of one batch.

    Attributes:
        lane: the model's name and version.
        size: images in the run; 0 if all were late.
        inference_seconds: the run's time; 0.0 if there was none.
        items: one for each image, those that were late included.
        finished_at: the clock's time when the device was done.
    """

    lane: tuple[str, int]
    size: int
    inference_seconds: float
    items: list[ItemOutcome]
    finished_at: float


@dataclass(frozen=True, slots=True)
class RequestReport:
    """Where one answered image spent its time, in seconds."""

    decode_seconds: float
    queue_seconds: float
    inference_seconds: float
    respond_seconds: float
    total_seconds: float


@dataclass(frozen=True, slots=True)
class BatchReport:
    """What the metrics learn of one batch: its size, and the times of the images that were answered."""

    model: str
    version: int
    size: int
    requests: list[RequestReport]
    failed: int
