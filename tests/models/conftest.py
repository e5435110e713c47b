"""What the zoo's tests share: `linnaeus-zoo` in this process, and less waiting for TorchScript's compiler."""

import contextlib
import functools
import inspect
import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy
import pytest
from PIL import Image

from linnaeus.models.cli import main
from linnaeus.models.training import Digits

COLOURS = {"blue": (0, 0, 200), "red": (200, 0, 0)}

_lines_of = functools.cache(inspect.getsourcelines)


@pytest.fixture(autouse=True, scope="module")
def sources_are_read_once() -> Iterator[None]:
    """Compiling to TorchScript reads each layer's source anew, three quarters of a DenseNet's four seconds."""
    with mock.patch.object(inspect, "getsourcelines", _lines_of):
        yield


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run of the command ended."""

    exit_code: int
    output: str
    errors: str


@pytest.fixture(scope="session")
def run_zoo() -> Callable[..., Ending]:
    """Runs linnaeus-zoo as its installed script does, but in this process: another takes two seconds to start."""

    def run(*arguments: str) -> Ending:
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["linnaeus-zoo", *arguments]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return Ending(int(ended.value.code or 0), output.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def listed(run_zoo: Callable[..., Ending]) -> dict[str, dict[str, Any]]:
    """What `list --json` says of each name; to count all parameters takes two seconds."""
    return {row["name"]: row for row in json.loads(run_zoo("list", "--json").output)}


@pytest.fixture(scope="session")
def table(run_zoo: Callable[..., Ending]) -> str:
    """What `list` shows."""
    return run_zoo("list").output


@pytest.fixture
def mnist_subset(mnist_train: Digits) -> Digits:
    return Digits(mnist_train.pixels[:300], mnist_train.classes[:300])


@pytest.fixture
def image_folders(tmp_path: Path) -> Path:
    """Red and blue noise: six pictures of each to learn from, two to be judged by, of odd sizes."""
    chance = numpy.random.default_rng(0)
    for part, number in (("train", 6), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for place in range(number):
                pixels = numpy.array(colour) + chance.integers(0, 50, (90 + place, 80, 3))
                path = tmp_path / "pictures" / part / name / f"{place}.png"
                Image.fromarray(pixels.astype(numpy.uint8)).save(path)
    return tmp_path / "pictures"
