"""The files of `load`: results and pages are written whole or not at all, and refused before the run, not after it."""

import json
import os
from pathlib import Path
from typing import Any

from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Run


def check_writable(path: Path) -> None:
    """Tries whether a file could be put there, and leaves nothing behind.

    Raises:
        ValueError: it could not; says why.
    """
    if path.is_dir():
        raise ValueError(f"{path} cannot be written: it is a folder")
    try:
        beside = _beside(path)
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}") from None


def write_whole(path: Path, text: str) -> None:
    """Replaces the file by this text, in one step: whoever reads it sees the old or the new, never a part.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    beside = _beside(path)
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def json_of(run: Run) -> str:
    """The run as `--json` writes it."""
    return json.dumps(run.to_dict(), indent=1) + "\n"


def read_run(path: Path) -> Run:
    """Reads what `--json` wrote.

    Raises:
        ValueError: there is no such file, or it holds no run; says which file and why.
    """
    try:
        run = Run.from_dict(_object(path.read_text(encoding="utf-8")))
        for spell in run.spells:
            Histogram.from_text(spell.latency.histogram)
        return run
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{path} is no result of a load test: {error}") from None


def _object(text: str) -> dict[str, Any]:
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise ValueError("it holds no JSON object")
    return plain


def _beside(path: Path) -> Path:
    """In the same folder, since a rename does not cross file systems."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
