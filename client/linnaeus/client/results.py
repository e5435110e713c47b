"""The results of calls, as frozen dataclasses without protobuf or gRPC.

They can be compared, hashed, pickled and, with `to_dict`, written as JSON.
"""

from dataclasses import dataclass, field, fields, is_dataclass
from enum import StrEnum
from typing import Any

from linnaeus.client.features import FeatureArray, unpack_features


class ModelState(StrEnum):
    """The state of a model version; equal to its name in lower case."""

    UNKNOWN = "unknown"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"
    DRAINING = "draining"
    UNLOADED = "unloaded"


@dataclass(frozen=True, slots=True)
class ScoredClass:
    """One class with its probability.

    Attributes:
        index: of the class in the model's output, from 0.
        label: the class's name.
        probability: between 0 and 1.
    """

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class Timings:
    """The time that a request spent in the server, in seconds.

    Attributes:
        decode_seconds: decoding the image and preprocessing it.
        queue_seconds: waiting for a decoder and for the device.
        inference_seconds: running the model on the whole batch.
    """

    decode_seconds: float
    queue_seconds: float
    inference_seconds: float


@dataclass(frozen=True, slots=True)
class Classification:
    """The answer for one image.

    Invariants:
        - `classes` is empty only if no class reaches the call's `min_probability`;
        - the most probable class comes first; equal probabilities are ordered by index.

    Attributes:
        classes: the top k, of those that reach the call's `min_probability`.
        model: the name of the model that answered.
        version: the model's version.
        batch_size: the number of images in the batch.
        timings: the time spent in the server.
        image_id: the `image_id` of the call.
        packed_features: the features as they were sent: float32, four bytes each, the least first.
    """

    classes: tuple[ScoredClass, ...]
    model: str
    version: int
    batch_size: int
    timings: Timings
    image_id: str = ""
    packed_features: bytes = field(default=b"", repr=False)

    @property
    def features(self) -> "FeatureArray | None":
        """What the model's last layer makes the classes of; None unless the call asked for features.

        A read-only numpy array, float32 [n], where numpy is installed; otherwise a read-only memoryview of n floats.
        """
        return unpack_features(self.packed_features) if self.packed_features else None

    @property
    def top(self) -> ScoredClass:
        """The most probable class.

        Raises:
            LookupError: if no class reaches the call's `min_probability`.
        """
        if not self.classes:
            raise LookupError("no class is as probable as min_probability: look at `classes` first")
        return self.classes[0]

    def to_dict(self) -> dict[str, Any]:
        """Converts to dicts, lists, strings and numbers; has `features` only if the call asked for them."""
        plain = _plain_fields(self)
        del plain["packed_features"]
        return plain if self.features is None else plain | {"features": list(map(float, self.features))}


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The input of a model, to which the server resizes every image.

    Attributes:
        channels: 1 for grey; 3 for red, green, blue.
        height: in pixels.
        width: in pixels.
        resize: the length in pixels to which the shorter side is resized before the centre is cropped.
        interpolation: "bilinear" or "bicubic".
    """

    channels: int
    height: int
    width: int
    resize: int
    interpolation: str


@dataclass(frozen=True, slots=True)
class ModelWeights:
    """The origin of a model's weights.

    Attributes:
        source: the origin; "random" for an untrained model.
        trained: if False, the answers mean nothing.
    """

    source: str
    trained: bool


@dataclass(frozen=True, slots=True)
class ModelSpecialisation:
    """How the server adapted a model to one device when it loaded it.

    Attributes:
        device: the device.
        precision: the dtype of the computation, such as "bfloat16"; probabilities are always float32.
        precision_reason: why this precision was chosen, in one sentence.
        memory_format: the layout of images in memory: "channels_last" or "channels_first".
        runtime: what computes it, such as "openvino"; empty if the server is older.
        runtime_reason: why this runtime was chosen, in one sentence.
    """

    device: str
    precision: str
    precision_reason: str
    memory_format: str
    runtime: str = ""
    runtime_reason: str = ""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """One model version.

    Attributes:
        name: the model's name.
        version: from 1.
        state: whether it is ready to serve.
        state_reason: why it is not ready, in one sentence; if it is ready, why its last reload was refused.
        architecture: such as "efficientnet_lite0".
        input: None if the manifest could not be read.
        weights: None if the manifest could not be read.
        class_count: the number of classes.
        parameter_count: the number of learned parameters.
        sha256: of the model, in hexadecimal: of its file, or of its files one after the other.
        devices: the devices that run it; empty if it is not ready.
        max_batch_size: the maximum number of images in a batch; 0 if it is not ready.
        labels: by class index; empty in a list of models.
        version_labels: the version's labels, such as "stable".
        is_default: whether it answers calls without a version.
        specialisations: how it was adapted to each device; empty if it is not ready, or the server is older.
        feature_count: the number of its features; 0 if it gives none.
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
    feature_count: int = 0

    @property
    def untrained(self) -> bool:
        """Whether the model is known to be untrained, so that its answers mean nothing."""
        return self.weights is not None and not self.weights.trained

    def to_dict(self) -> dict[str, Any]:
        """Converts to dicts, lists, strings, numbers and None."""
        return _plain_fields(self)


def _plain_fields(record: Any) -> dict[str, Any]:
    return {each.name: _plain(getattr(record, each.name)) for each in fields(record)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return _plain_fields(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, ModelState) else value
