"""Finds version folders on disk. It reads names only; whether a folder is fit to serve is the runtime's question."""

import re
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path

from linnaeus.server.errors import StartupError

# Canonical positive integers: "1" and "01" would be two folders for one version.
_VERSION = re.compile(r"[1-9][0-9]{0,17}")

_ADVICE = "make one with: linnaeus-zoo export lenet efficientnet_lite0"


@dataclass(frozen=True, slots=True, order=True)
class VersionFolder:
    """`<root>/<model>/<version>`."""

    model: str
    version: int
    path: Path


def scan(root: Path, wanted: Set[str] = frozenset()) -> list[VersionFolder]:
    """Lists the version folders below `root`, by model, then version.

    Folders whose name begins with a dot are being written and are passed over, as is everything that is not a
    positive integer below a model.

    Args:
        root: the repository.
        wanted: models to look for; empty for all.

    Raises:
        StartupError: there is no such folder, a wanted model is not in it, or it holds no version at all.
    """
    if not root.is_dir():
        raise StartupError(f"the model repository {root} is not a folder; {_ADVICE}")
    models = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    missing = wanted - {path.name for path in models}
    if missing:
        raise StartupError(f"the model repository {root} has no model {', '.join(sorted(missing))}")
    found = [folder for path in models if not wanted or path.name in wanted for folder in _versions(path)]
    if not found:
        raise StartupError(f"the model repository {root} holds no version folder; {_ADVICE}")
    return sorted(found)


def _versions(model: Path) -> list[VersionFolder]:
    return [
        VersionFolder(model.name, int(path.name), path)
        for path in model.iterdir()
        if path.is_dir() and _VERSION.fullmatch(path.name)
    ]
