"""The files of `load`, JSON results and HTML pages: written atomically, and checked before the test runs."""

import json
import os
from pathlib import Path
from typing import Any

from linnaeus.client.load.measurement.histograms import Histogram
from linnaeus.client.load.results import Run
from linnaeus.text_files import read_text_file


def check_writable(path: Path) -> None:
    """Checks that a file can be written; leaves nothing behind.

    Raises:
        ValueError: if it cannot. The message says why.
    """
    if path.is_dir():
        raise ValueError(f"{path} cannot be written: it is a folder")
    try:
        temporary = _temporary_path(path)
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror or error}") from None


def write_atomically(path: Path, text: str) -> None:
    """Replaces the file in one step: a reader sees the old or the new text, never a part.

    Raises:
        OSError: if it cannot be written. The old file is kept.
    """
    temporary = _temporary_path(path)
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def to_json(run: Run) -> str:
    """Returns the result as `--json` writes it."""
    return json.dumps(run.to_dict(), indent=1) + "\n"


def read_run(path: Path) -> Run:
    """Reads a result that `--json` wrote.

    Raises:
        ValueError: if the file cannot be read or holds no result. The message names it and says why.
    """
    try:
        run = Run.from_dict(_parse_object(read_text_file(path)))
        for measurement in run.measurements:
            Histogram.from_text(measurement.latency.histogram)
        return run
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror or error}") from None
    except (ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is no result of a load test: {error}") from None


def _parse_object(text: str) -> dict[str, Any]:
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise ValueError("it holds no JSON object")
    return plain


def _temporary_path(path: Path) -> Path:
    """Returns a path in the same folder, because a rename does not cross file systems."""
    return path.with_name(f".{path.name}.{os.getpid()}.part")
