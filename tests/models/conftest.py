"""Fixtures of the zoo's tests: `linnaeus-zoo` in this process, small data sets, a faster TorchScript compiler."""

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
def cached_sources() -> Iterator[None]:
    """Caches the source of each layer: the TorchScript compiler reads it for 3 of the 4 seconds of a DenseNet."""
    with mock.patch.object(inspect, "getsourcelines", _lines_of):
        yield


@dataclass(frozen=True, slots=True)
class Result:
    """Exit code and output of a command."""

    exit_code: int
    output: str
    errors: str


@pytest.fixture(scope="session")
def run_zoo() -> Callable[..., Result]:
    """Runs `linnaeus-zoo` like the installed script, but in this process: a new one takes two seconds to start."""

    def run(*arguments: str) -> Result:
        output, errors = io.StringIO(), io.StringIO()
        with (
            mock.patch.object(sys, "argv", ["linnaeus-zoo", *arguments]),
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(errors),
            pytest.raises(SystemExit) as ended,
        ):
            main()
        return Result(int(ended.value.code or 0), output.getvalue(), errors.getvalue())

    return run


@pytest.fixture(scope="session")
def listed(run_zoo: Callable[..., Result]) -> dict[str, dict[str, Any]]:
    """The output of `list --json` by name; computed once, because counting all parameters takes two seconds."""
    return {row["name"]: row for row in json.loads(run_zoo("list", "--json").output)}


@pytest.fixture(scope="session")
def table(run_zoo: Callable[..., Result]) -> str:
    """The output of `list`."""
    return run_zoo("list").output


@pytest.fixture
def mnist_subset(mnist_train: Digits) -> Digits:
    return Digits(mnist_train.pixels[:300], mnist_train.classes[:300])


@pytest.fixture
def image_folders(tmp_path: Path) -> Path:
    """Folders of red and blue noise, of different sizes: six training and two test images of each class."""
    chance = numpy.random.default_rng(0)
    for part, number in (("train", 6), ("val", 2)):
        for name, colour in COLOURS.items():
            (tmp_path / "pictures" / part / name).mkdir(parents=True)
            for place in range(number):
                pixels = numpy.array(colour) + chance.integers(0, 50, (90 + place, 80, 3))
                path = tmp_path / "pictures" / part / name / f"{place}.png"
                Image.fromarray(pixels.astype(numpy.uint8)).save(path)
    return tmp_path / "pictures"
