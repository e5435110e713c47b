"""What an operator chose for one model: `<repository>/<model>/config.toml`, which may be missing or name a few keys.

A key that is a setting of the server has the same name and the same check there; what the file does not name is as the
server has it.
"""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from math import inf
from pathlib import Path
from typing import Any

from linnaeus.server.config.settings import Settings
from linnaeus.server.config.version_policy import VersionPolicy, read_default, read_labels, read_policy
from linnaeus.server.errors import ModelRefused, StartupError

CONFIG_FILE = "config.toml"
PRIORITIES = ("high", "normal", "low")
PRECISIONS = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """How one model is served; every field is a key of the file.

    Attributes:
        max_batch_size, max_queue_size, max_queue_delay_seconds, default_timeout_seconds: as in the server's settings.
        devices: where it runs, as `--device` names them; all of them take from one queue.
        instances: batches of it that may run at once on one device; 0 for as many as the device has streams, or one
            where they are so short that more would only be in the event loop's way.
        weight: its part of a device that several models keep busy, against the other models' weights.
        priority_weights: what high, normal and low priority get of it, against one another, when it is overloaded.
        cuda_graphs: whether a GPU runs its batches by recorded graphs, which saves launching every kernel by itself.
        precision: what it computes in; `auto` for the fastest whose answers agree with float32's.
        versions: which of them are served.
        labels: names for versions, usable wherever a version is named.
        default_version: a number or a label for requests that name none; empty for the highest that is ready.
    """

    max_batch_size: int
    max_queue_size: int
    max_queue_delay_seconds: float
    default_timeout_seconds: float
    devices: tuple[str, ...]
    instances: int = 0
    weight: float = 1.0
    priority_weights: tuple[float, float, float] = (10.0, 1.0, 0.1)
    cuda_graphs: bool = False
    precision: str = "float32"
    versions: VersionPolicy = VersionPolicy()
    labels: Mapping[str, int] = field(default_factory=dict)
    default_version: str = ""

    def runs_like(self, other: "ModelSettings") -> bool:
        """Whether a version that was loaded with the other settings need not be loaded anew for these."""
        alike = replace(other, versions=self.versions, labels=self.labels, default_version=self.default_version)
        return alike == self


SHARED_KEYS = ("max_batch_size", "max_queue_size", "max_queue_delay_seconds", "default_timeout_seconds")


def model_settings(model_folder: Path, settings: Settings) -> ModelSettings:
    """Returns how a model is to be served, by its file and the server's settings.

    Raises:
        ModelRefused: the file cannot be read, a key is none of ModelSettings, or a value makes no sense; names the key.
    """
    chosen = _read(model_folder / CONFIG_FILE)
    for key in chosen:
        _require(key in KEYS, f"{key} is no setting of a model; there are: {', '.join(KEYS)}")
    own = {key: _OWN_CHECKS[key](value) for key, value in chosen.items() if key in _OWN_CHECKS}
    shared = _shared({key: value for key, value in chosen.items() if key in SHARED_KEYS}, settings)
    return ModelSettings(**{"devices": (settings.device,)} | shared | own)


def _shared(chosen: dict[str, Any], settings: Settings) -> dict[str, Any]:
    for key, value in chosen.items():
        _check_number(key, value, next(each.type for each in fields(Settings) if each.name == key) is int)
    try:
        together = replace(settings, **chosen)
    except StartupError as error:
        raise ModelRefused(f"{CONFIG_FILE}: {error}") from None
    return {key: getattr(together, key) for key in SHARED_KEYS}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelRefused(f"{CONFIG_FILE} cannot be read: {error}") from None


def _devices(value: Any) -> tuple[str, ...]:
    named = isinstance(value, list) and value and all(isinstance(each, str) and each for each in value)
    _require(bool(named), f'devices is {value!r}, but must be a list of names, such as ["cuda:0", "cuda:1"]')
    return tuple(value)


def _instances(value: Any) -> int:
    _check_number("instances", value, whole=True)
    _require(value >= 0, f"instances is {value}, but must be at least 0")
    return int(value)


def _weight(value: Any, key: str = "weight") -> float:
    _check_number(key, value, whole=False)
    _require(0 < value < inf, f"{key} is {value}, but must be above 0 and finite")
    return float(value)


def _priority_weights(value: Any) -> tuple[float, float, float]:
    complete = isinstance(value, dict) and sorted(value) == sorted(PRIORITIES)
    _require(complete, f"priority_weights is {value!r}, but must be a table of high, normal and low")
    high, normal, low = (_weight(value[name], f"priority_weights.{name}") for name in PRIORITIES)
    return high, normal, low


def _cuda_graphs(value: Any) -> bool:
    _require(isinstance(value, bool), f"cuda_graphs is {value!r}, but must be true or false")
    return bool(value)


def _precision(value: Any) -> str:
    _require(value in PRECISIONS, f"precision is {value!r}, but must be one of {', '.join(PRECISIONS)}")
    return str(value)


def _read_by(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        try:
            return read(value)
        except ValueError as error:
            raise ModelRefused(f"{CONFIG_FILE}: {error}") from None

    return checked


def _check_number(key: str, value: Any, whole: bool) -> None:
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    _require(fits, f"{key} is {value!r}, but must be {'a whole number' if whole else 'a number'}")


def _require(holds: bool, sentence: str) -> None:
    if not holds:
        raise ModelRefused(f"{CONFIG_FILE}: {sentence}")


_OWN_CHECKS: dict[str, Callable[[Any], Any]] = {
    "devices": _devices,
    "instances": _instances,
    "weight": _weight,
    "priority_weights": _priority_weights,
    "cuda_graphs": _cuda_graphs,
    "precision": _precision,
    "versions": _read_by(read_policy),
    "labels": _read_by(read_labels),
    "default_version": _read_by(read_default),
}
KEYS = (*SHARED_KEYS, *_OWN_CHECKS)
