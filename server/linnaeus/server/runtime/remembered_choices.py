"""Choices of a runtime and a precision that were measured, kept on disk between starts.

A choice holds for one artifact, machine and set of settings: the key is made from all of them. Reading and writing
never fail a load: without the folder every load measures anew.
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

NO_CACHE = "none"
DEFAULT_CACHE = "auto"
_PACKAGES = ("torch", "openvino", "onnxruntime")
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True)
class Choice:
    """What was chosen, and why."""

    runtime: str
    precision: str
    runtime_reason: str
    precision_reason: str


def cache_folder(setting: str) -> str:
    """Returns the folder that a setting means, made if it is missing; empty if there is none that can be written.

    Args:
        setting: a path, `none`, or `auto` for `linnaeus` in the user's cache folder.
    """
    if setting in ("", NO_CACHE):
        return ""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(home, "linnaeus") if setting == DEFAULT_CACHE else Path(setting)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return ""
    return str(folder) if os.access(folder, os.W_OK | os.X_OK) else ""


class RememberedChoices:
    """The choice of one load.

    Args:
        folder: the cache folder; empty for none.
        circumstances: what the choice depends on besides the machine and the packages.
    """

    def __init__(self, folder: str, *circumstances: object) -> None:
        known = [*circumstances, *map(_version, _PACKAGES), platform.machine(), _processor()]
        name = sha256(json.dumps([str(each) for each in known]).encode()).hexdigest()
        self._path = Path(folder, f"choice-{name}.json") if folder else None

    def find(self) -> Choice | None:
        """Returns the choice; None if there is none that can be read."""
        try:
            return Choice(**json.loads(self._path.read_text("utf-8"))) if self._path else None
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, choice: Choice) -> None:
        """Writes the choice, whole or not at all."""
        if self._path is None:
            return
        draft = self._path.with_suffix(f".{os.getpid()}")
        try:
            draft.write_text(json.dumps(asdict(choice)), "utf-8")
            draft.replace(self._path)
        except OSError:
            draft.unlink(missing_ok=True)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> str:
    """Returns the model and the instructions of the first processor, as Linux tells them; else what Python knows."""
    try:
        lines = _CPU_INFO.read_text("utf-8", "replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor()
    telling = ("model name", "flags", "Features", "CPU part")
    return "\n".join(line for line in lines if line.startswith(telling))
