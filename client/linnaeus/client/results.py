"""What a server answers, as plain frozen data: no message, no gRPC.

All of it can be compared, hashed, pickled and, with `to_dict`, written as JSON.
"""

from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from typing import Any


class ModelState(StrEnum):
    """Where a model version stands; equal to its own lower-case name."""

    UNKNOWN = "unknown"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One label with its probability.

    Attributes:
        index: the class's place in the model's output, from 0.
        label: its name.
        probability: between 0 and 1.
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the request spent its time in the server, in seconds.

    Attributes:
        decode_seconds: turning the file into the model's input.
        queue_seconds: waiting, for a decoder and for the device.
        inference_seconds: the model's run of the whole batch.
    """

    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one picture.

    Invariants:
        - `classes` holds at least one class;
        - the best comes first, equal probabilities by lower index.

    Attributes:
        classes: the top k.
        model: the model that answered.
        version: and its version.
        batch_size: how many pictures shared the run.
        timings: the time spent in the server.
        image_id: the `image_id` of the call.
    """

    classes: tuple[ScoredClass, ...]
    model: str
    version: int
    batch_size: int
    timings: Timings
    image_id: str = ""

    @property
    def top(self) -> ScoredClass:
        """The most probable class."""
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, strings and numbers."""
        return _plain_fields(self)


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a model takes, whatever the size of the picture.

    Attributes:
        channels: 1 for grey; 3 for red, green, blue.
        height: in pixels.
        width: in pixels.
        resize: the shorter side is resized to this many pixels, then the middle is cut out.
        interpolation: "bilinear" or "bicubic".
    """

    channels: int
    height: int
    width: int
    resize: int
    interpolation: str


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """Where a model's weights come from.

    Attributes:
        source: the origin; "random" for an untrained model.
        trained: False: the answers mean nothing.
    """

    source: str
    trained: bool


@dataclass(frozen=True, slots=True)
class ModelSpecialisation:
    """How a model was fitted to one device when it was loaded.

    Attributes:
        device: where it runs.
        precision: what it computes in, such as "bfloat16"; probabilities are float32 in any case.
        precision_reason: why it is that one, in one sentence.
        memory_format: how pictures lie in memory: "channels_last" or "channels_first".
    """

    device: str
    precision: str
    precision_reason: str
    memory_format: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version.

    Attributes:
        name: the model's name.
        version: from 1.
        state: where it stands.
        state_reason: why it is not ready, in one sentence; of one that is, why its last reload was refused.
        architecture: such as "efficientnet_lite0".
        input: None when the manifest could not be read.
        weights: None when the manifest could not be read.
        class_count: how many classes it tells apart.
        parameter_count: how many numbers were learned.
        sha256: of model.pt, in hexadecimal.
        devices: where it runs; empty when it is not ready.
        max_batch_size: how many pictures may share a run; 0 when it is not ready.
        labels: by class index; empty in a listing.
        version_labels: what the version is called besides its number, such as "stable".
        is_default: whether it answers calls that name no version.
        specialisations: how it was fitted to each device; empty when it is not ready, or the server is older.
    """

    name: str
    version: int
    state: ModelState
    state_reason: str
    architecture: str
    input: ModelInput | None
    weights: ModelWeights | None
    class_count: int
    parameter_count: int
    sha256: str
    devices: tuple[str, ...]
    max_batch_size: int
    labels: tuple[str, ...] = ()
    version_labels: tuple[str, ...] = ()
    is_default: bool = False
    specialisations: tuple[ModelSpecialisation, ...] = ()

    @property
    def untrained(self) -> bool:
        """Whether it is known that the answers mean nothing."""
        return self.weights is not None and not self.weights.trained

    def to_dict(self) -> dict[str, Any]:
        """The same as dicts, lists, strings, numbers and None."""
        return _plain_fields(self)


def _plain_fields(record: Any) -> dict[str, Any]:
    return {field.name: _plain(getattr(record, field.name)) for field in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, ModelState) else value
