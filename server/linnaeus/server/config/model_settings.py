"""The settings of one model: `<repository>/<model>/config.toml`, which may be missing or set a few keys.

A key that is also a setting of the server has the same name and range there, and its value where the file has none.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import ConfigDict, Field, PlainValidator, ValidationError
from pydantic.dataclasses import dataclass

from linnaeus.server.config.devices import read_device_names
from linnaeus.server.config.ranges import BatchSize, Factor, Images, Seconds, Threads
from linnaeus.server.config.settings import Settings
from linnaeus.server.config.shown_value import shown
from linnaeus.server.config.validation import explain
from linnaeus.server.config.version_policy import VersionPolicy, read_default, read_labels, read_policy
from linnaeus.server.errors import ModelRefused
from linnaeus.text_files import TextFileError, read_text_file, reason_of

CONFIG_FILE = "config.toml"
_CONFIG = ConfigDict(strict=True, allow_inf_nan=False)
# Python shows no integer of more than 4,300 digits.
_MAX_BITS = 4_096
# Shares are relative: further apart, the smaller one is never served.
Weight = Annotated[float, Field(ge=1e-6, le=1e6)]


class PriorityWeights(NamedTuple):
    """Shares of an overloaded model that its high, normal and low priority get, relative to one another."""

    high: Weight
    normal: Weight
    low: Weight


def _read_devices(value: Any) -> tuple[str, ...]:
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) and each for each in value):
        try:
            return tuple(map(read_device_names, value))
        except ValueError as error:
            raise ValueError(f"devices: {error}") from None
    raise ValueError(f'devices is {shown(value)}, but must be a list of names, such as ["cuda:0", "cuda:1"]')


@dataclass(frozen=True, slots=True, kw_only=True, config=_CONFIG)
class ModelSettings:
    """How one model is served; every field is a key of the file.

    Attributes:
        max_batch_size, max_queue_size, max_queue_delay_seconds, default_timeout_seconds, runtime,
            runtime_memory_factor: as in `Settings`.
        devices: where the model runs, as `--device` names them; all of them take from one queue.
        instances: batches of the model that may run at once on one device; 0 for one per worker of the device, or one
            for a model whose batches are so short that more would only compete with the event loop.
        weight: share of a device that several models keep busy, relative to the other models' weights.
        priority_weights: shares of the priorities when the model is overloaded.
        cuda_graphs: whether a GPU runs the model's batches as recorded graphs, which saves one launch per kernel.
        precision: what the model computes in; `auto` for the fastest whose answers agree with float32's.
        versions: which versions are served.
        labels: names of versions, usable wherever a version is named.
        default_version: a number or a label for requests that name none; empty for the highest that is ready.

    Raises:
        pydantic.ValidationError: if a value is of the wrong type or outside its range.
    """

    max_batch_size: BatchSize
    max_queue_size: Images
    max_queue_delay_seconds: Seconds
    default_timeout_seconds: Seconds
    devices: Annotated[tuple[str, ...], PlainValidator(_read_devices)]
    instances: Threads = 0
    weight: Weight = 1.0
    priority_weights: PriorityWeights = PriorityWeights(10.0, 1.0, 0.1)
    cuda_graphs: bool = False
    runtime: Literal["auto", "torchscript", "openvino", "onnxruntime"] = "auto"
    runtime_memory_factor: Factor = 2.0
    precision: Literal["float32", "bfloat16", "float16", "auto"] = "float32"
    versions: Annotated[VersionPolicy, PlainValidator(read_policy)] = VersionPolicy()
    labels: Annotated[Mapping[str, int], PlainValidator(read_labels)] = field(default_factory=dict)
    default_version: Annotated[str, PlainValidator(read_default)] = ""

    def runs_like(self, other: "ModelSettings") -> bool:
        """Whether a version that was loaded with the other settings need not be loaded again for these."""
        return all(getattr(self, key) == getattr(other, key) for key in KEYS if key not in _SELECTING_KEYS)


# They select among the loaded versions.
_SELECTING_KEYS = ("versions", "labels", "default_version")
SHARED_KEYS = (
    *("max_batch_size", "max_queue_size", "max_queue_delay_seconds", "default_timeout_seconds"),
    *("runtime", "runtime_memory_factor"),
)
KEYS = tuple(each.name for each in fields(ModelSettings))


def model_settings(model_folder: Path, settings: Settings) -> ModelSettings:
    """Returns the settings of a model from its file and, for keys that the file does not set, the server's settings.

    Raises:
        ModelRefused: if the file cannot be read, a key is unknown, or a value is wrong; names the key.
    """
    chosen = _read(model_folder / CONFIG_FILE)
    for key in chosen:
        if key not in KEYS:
            raise ModelRefused(f"{CONFIG_FILE}: {key!s:.64} is no setting of a model; there are: {', '.join(KEYS)}")
    inherited = {key: getattr(settings, key) for key in SHARED_KEYS} | {"devices": (settings.device,)}
    try:
        return ModelSettings(**(inherited | chosen))
    except ValidationError as error:
        raise ModelRefused(f"{CONFIG_FILE}: {explain(error)}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(read_text_file(path))
    except FileNotFoundError:
        return {}
    except (OSError, TextFileError, tomllib.TOMLDecodeError) as error:
        raise ModelRefused(f"{CONFIG_FILE} cannot be read: {reason_of(error)}") from None
    except ValueError:
        raise ModelRefused(f"{CONFIG_FILE} cannot be read: a number has too many digits") from None
    except RecursionError:
        raise ModelRefused(f"{CONFIG_FILE} cannot be read: it nests too deeply") from None
    for key, value in values.items():
        if _holds_endless_number(value):
            raise ModelRefused(f"{CONFIG_FILE}: {key} has a number of more than a thousand digits")
    return values


def _holds_endless_number(value: Any) -> bool:
    """Returns whether a value holds a number that no message could show, such as a hexadecimal one of 10,000 digits."""
    if isinstance(value, dict | list):
        return any(map(_holds_endless_number, value.values() if isinstance(value, dict) else value))
    return isinstance(value, int) and value.bit_length() > _MAX_BITS
