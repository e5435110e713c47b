"""The messages between a front end and the core. Data only; msgspec packs them as MessagePack arrays.

| front end to core | core to front end |
|---|---|
| | Welcome: how many decoders to start |
| Admit: may this request be admitted? | Refused: no; also an error later on |
| | Decode: yes, and decode these images now |
| Decoded: the pixels of an image | Answer: its ranking |
| GiveBack: these images were not begun | |
| TurnEnded: a decoder has finished its turn | |
| Cancel: the request has ended in the front end | |
| Expire: its deadline has passed | Refused: too late, and at what stage it was |
| Rejected, Event: for the metrics and the event log | |
| Operate: load a model, and so on | Returned: the result |
| Measure: the batch latencies of a version | Figures: the latencies |
| Count: the statistics of a version | Counted: the statistics |
| Charge: takes images from a caller's rate | Charged: how long the caller must wait |
| | ModelChanged, Devices, Loaded: the catalog |

Every `Admit` gets one `Refused` or `Answer`, unless `Cancel` overtakes it.
"""

from typing import Any, TypeAlias

import msgspec

from linnaeus.server.link.pixel_memory import Slot
from linnaeus.server.model_store.catalog import Entry

Lane: TypeAlias = tuple[str, int, int]


class Message(msgspec.Struct, array_like=True, gc=False):
    """The base of all messages; each has a number as its tag."""


class Admit(Message, tag=2):
    """A request that wants to be let in. Fields as of `Request` and `Ticket`; `pixels` is None for an image to decode.

    Pixels are uint8 [H, W, C] of the model's input size, in the message or in the front end's shared memory.
    """

    number: int
    lane: Lane
    deadline: float | None
    priority: int
    work: tuple[str, int] | None
    caller: str
    top_k: int
    min_probability: float
    want_features: bool
    pixels: bytes | Slot | None


class Decoded(Message, tag=3):
    """An image is decoded, in so many seconds of processor time and of the clock."""

    number: int
    processor_seconds: float
    decode_seconds: float
    pixels: bytes | Slot


class GiveBack(Message, tag=4):
    """Images of a turn that the decoder has not begun, for another turn."""

    numbers: list[int]


class TurnEnded(Message, tag=5):
    """A decoder has come back from its part of a turn."""

    turn: int


class Cancel(Message, tag=6):
    """A request has ended in the front end; `by_caller` is False if it failed there."""

    number: int
    by_caller: bool


class Expire(Message, tag=8):
    """The deadline of a request has passed."""

    number: int


class Rejected(Message, tag=7):
    """A request ended with an error; see `Observer.rejected`."""

    model: str
    reason: str
    version: int
    seconds: float


class Operate(Message, tag=9):
    """An operation on a model: the name of a method of `ModelManager` and its arguments."""

    call: int
    operation: str
    arguments: list[str]


class Measure(Message, tag=10):
    """Asks for the figures of a version."""

    call: int
    lane: Lane


class Count(Message, tag=11):
    """Asks for the statistics of a version, under a name; see `kserve.statistics`."""

    call: int
    model: str
    version: int
    name: str


class Charge(Message, tag=13):
    """Takes a cost in images from the rate of a caller; sent only if there is a rate limit."""

    call: int
    caller: str
    cost: float


class Event(Message, tag=12):
    """An event for the event log; see `EventLog.write`."""

    event: str
    at: float
    fields: dict[str, Any]


class PackedError(Message):
    """A `RequestError`: the name of its class, its message and its attributes."""

    kind: str
    message: str
    fields: dict[str, Any]


class Welcome(Message, tag=21):
    """The first message of the core."""

    decoders: int


class Refused(Message, tag=22):
    """A request ends with an error; `at_admission` if it was not admitted."""

    number: int
    error: PackedError
    at_admission: bool = False


class Decode(Message, tag=23):
    """Decode these images now, the most urgent first; they are this front end's part of one turn."""

    turn: int
    numbers: list[int]


class BatchTimes(Message):
    """A batch, for the records of its requests; see `BatchRecord`."""

    number: int
    device: str
    size: int
    taken_at: float
    finished_at: float


class Answer(Message, tag=24):
    """The ranking of an image and its timings; see `TimedRanking`. `batch` is None if nobody records requests."""

    number: int
    indices: list[int]
    probabilities: list[float]
    features: bytes
    batch_size: int
    queue_seconds: float
    inference_seconds: float
    batch: BatchTimes | None


class Returned(Message, tag=25):
    """The result of an operation."""

    call: int
    entries: list[Entry]
    error: PackedError | None


class Figures(Message, tag=26):
    """The figures of a version; see `ModelFigures`."""

    call: int
    batch_seconds: dict[str, dict[int, float]]
    median_error_seconds: float
    margin_seconds: float


class Counted(Message, tag=28):
    """The statistics of a version: a serialized `ModelStatistics`."""

    call: int
    statistics: bytes


class Charged(Message, tag=31):
    """0.0 if the caller was charged, else the seconds until it can be."""

    call: int
    wait_seconds: float


class ModelChanged(Message, tag=27):
    """A model's versions in the catalog, all of them, none if it left; and its labels and default."""

    name: str
    entries: list[Entry]
    labels: dict[str, int]
    default: str


class Devices(Message, tag=29):
    """Whether each device runs batches, by name."""

    states: dict[str, bool]


class Loaded(Message, tag=30):
    """Every model that is wanted at the start is ready or refused."""


_Requests: TypeAlias = Admit | Decoded | GiveBack | TurnEnded | Cancel | Expire
_Reports: TypeAlias = Rejected | Event
_Questions: TypeAlias = Operate | Measure | Count | Charge
ToCore: TypeAlias = _Requests | _Reports | _Questions
_Outcomes: TypeAlias = Refused | Decode | Answer
_Replies: TypeAlias = Returned | Figures | Counted | Charged
ToFrontEnd: TypeAlias = Welcome | _Outcomes | _Replies | ModelChanged | Devices | Loaded
