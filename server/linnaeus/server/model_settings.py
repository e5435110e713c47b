"""What an operator chose for one model: `<repository>/<model>/config.toml`, which may be missing or name a few keys.

Each key is a setting of the server, under the same name and with the same check; what the file does not name is as the
server has it.
"""

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from linnaeus.server.config import Settings
from linnaeus.server.errors import ModelRefused, StartupError

CONFIG_FILE = "config.toml"
KEYS = ("max_batch_size", "max_queue_size", "max_queue_delay_seconds", "default_timeout_seconds")


def model_settings(model_folder: Path, settings: Settings) -> Settings:
    """Returns the server's settings as they hold for one model.

    Raises:
        ModelRefused: the file cannot be read, a key is none of `KEYS`, or a value makes no sense; names the key.
    """
    chosen = _read(model_folder / CONFIG_FILE)
    for key, value in chosen.items():
        _check_key(key, value)
    try:
        return replace(settings, **chosen)
    except StartupError as error:
        raise ModelRefused(f"{CONFIG_FILE}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelRefused(f"{CONFIG_FILE} cannot be read: {error}") from None


def _check_key(key: str, value: Any) -> None:
    if key not in KEYS:
        raise ModelRefused(f"{CONFIG_FILE}: {key} is no setting of a model; there are: {', '.join(KEYS)}")
    whole = next(each.type for each in fields(Settings) if each.name == key) is int
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        wanted = "a whole number" if whole else "a number"
        raise ModelRefused(f"{CONFIG_FILE}: {key} is {value!r}, but must be {wanted}")
