"""Reads pictures for quantization, prepared as the server prepares them: uint8 [N, C, H, W].

A folder holds pictures, or a folder of pictures for each class, or MNIST.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from linnaeus.models.export.calibration_images import image_files
from linnaeus.models.manifest import InputSpec
from linnaeus.models.preprocessing import load_image, to_pixels
from linnaeus.models.quantization.agreement import MOST_POINTS_LOST
from linnaeus.models.quantization.split import MOST_CALIBRATION, split
from linnaeus.models.training.datasets import Digits, load_mnist

# MNIST has 10,000 test digits, on which a point would be a hundred.
_MOST_POINTS_LOST_OF_MNIST = 0.1
_MNIST_FOLDER = Path("MNIST") / "raw"


class Pictures(Protocol):
    """Pictures in a fixed order."""

    @property
    def classes(self) -> Tensor | None:
        """The class of each picture, int64 [N]; None without labels."""

    def __len__(self) -> int:
        """Number of pictures."""

    def pixels(self, start: int, stop: int) -> Tensor:
        """Returns the pictures from `start` to before `stop`, uint8 [N, C, H, W]; OSError if a file is no picture."""


@dataclass(frozen=True, slots=True)
class PictureFiles:
    """Picture files, which are decoded when they are needed, so that memory does not limit their number."""

    paths: tuple[Path, ...]
    classes: Tensor | None
    spec: InputSpec

    def __len__(self) -> int:
        """Number of pictures."""
        return len(self.paths)

    def pixels(self, start: int, stop: int) -> Tensor:
        """Decodes the pictures from `start` to before `stop`; uint8 [N, C, H, W]."""
        return torch.cat([to_pixels(load_image(path, self.spec)) for path in self.paths[start:stop]])

    def subset(self, indices: Sequence[int]) -> "PictureFiles":
        """Returns the pictures at these indices."""
        classes = None if self.classes is None else self.classes[list(indices)]
        return PictureFiles(tuple(self.paths[index] for index in indices), classes, self.spec)


@dataclass(frozen=True, slots=True)
class DigitPictures:
    """Digits of MNIST, already in the size of the model."""

    digits: Digits

    @property
    def classes(self) -> Tensor:
        """The class of each digit, int64 [N]."""
        return self.digits.classes

    def __len__(self) -> int:
        """Number of digits."""
        return len(self.digits)

    def pixels(self, start: int, stop: int) -> Tensor:
        """Returns the digits from `start` to before `stop`, uint8 [N, C, H, W]."""
        return self.digits.pixels[start:stop].contiguous()


@dataclass(frozen=True, slots=True)
class DividedPictures:
    """The pictures to calibrate by, those to judge by, and how many points of accuracy may be lost on the latter."""

    calibration: Pictures
    held_out: Pictures
    most_points_lost: float = MOST_POINTS_LOST


def read_pictures(folder: Path, labels: Sequence[str], spec: InputSpec, held_out: str | None = None) -> DividedPictures:
    """Finds the pictures in a folder and divides them.

    MNIST is divided already: the first training digits calibrate, and all test digits judge.

    Args:
        folder: with pictures in it; or with a folder for each class, named by label or index; or with MNIST/raw.
        labels: the model's, by class index.
        spec: how pictures are prepared for the model.
        held_out: as for `split`.

    Raises:
        OSError: if the folder does not exist.
        ValueError: if there are too few pictures, or a folder has the name of no class.
    """
    if (folder / _MNIST_FOLDER).is_dir():
        return _read_mnist(folder, labels, spec, held_out)
    if found := image_files(folder):
        files = PictureFiles(tuple(found), None, spec)
    else:
        files = _labeled_files(folder, labels, spec)
    calibration, judged = split([path.relative_to(folder).as_posix() for path in files.paths], held_out)
    return DividedPictures(files.subset(calibration), files.subset(judged))


def _read_mnist(folder: Path, labels: Sequence[str], spec: InputSpec, held_out: str | None) -> DividedPictures:
    if held_out is not None:
        raise ValueError(f"{folder} is MNIST, whose test digits are held out; leave --held-out away")
    training, test = (load_mnist(folder, train=train) for train in (True, False))
    if tuple(labels) != test.labels:
        raise ValueError(f"{folder} is MNIST, but the model tells other classes apart than the ten digits")
    calibration = Digits(training.pixels[:MOST_CALIBRATION], training.classes[:MOST_CALIBRATION])
    calibrating, judging = (DigitPictures(digits.resized(spec)) for digits in (calibration, test))
    return DividedPictures(calibrating, judging, _MOST_POINTS_LOST_OF_MNIST)


def _labeled_files(folder: Path, labels: Sequence[str], spec: InputSpec) -> PictureFiles:
    paths: list[Path] = []
    classes: list[int] = []
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")):
        found = image_files(child)
        if found:
            classes += [_class_of(child, labels)] * len(found)
            paths += found
    if not paths:
        raise ValueError(f"--calibration: there are no pictures in {folder}, nor in folders of it")
    return PictureFiles(tuple(paths), torch.tensor(classes), spec)


def _class_of(folder: Path, labels: Sequence[str]) -> int:
    """Returns the class that a folder's name stands for: a label, or else an index."""
    name = folder.name
    times = Counter(labels)[name]
    if times == 1:
        return labels.index(name)
    if times > 1:
        raise ValueError(f"--calibration: {name!r} is the label of {times} classes; name {folder} by the class's index")
    if name.isascii() and name.isdigit() and int(name) < len(labels):
        return int(name)
    raise ValueError(
        f"--calibration: {folder} has the name of no class; name it as in labels.txt, or 0 to {len(labels) - 1}"
    )
