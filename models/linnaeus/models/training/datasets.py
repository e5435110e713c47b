"""What a network is trained on, as the server would show it: uint8 pixels of the model's own size and channels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.datasets import MNIST, ImageFolder
from torchvision.transforms import functional as transforms
from torchvision.transforms.functional import InterpolationMode

from linnaeus.models import labels
from linnaeus.models.manifest import InputSpec

_TRAINING, _VALIDATION = "train", "val"


class LabeledImages(Protocol):
    """Labelled images, to be had in any order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One label for each class."""

    def __len__(self) -> int:
        """How many images there are."""

    def resized(self, spec: InputSpec) -> "LabeledImages":
        """The same images, resized and cut to their middle as the server does."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The images at these indices, uint8 [N, C, H, W], and their classes, int64 [N]."""


@dataclass(frozen=True, slots=True)
class Digits:
    """MNIST, or a part of it: uint8 pixels [N, C, H, W], of MNIST itself [N, 1, 28, 28], and int64 classes [N]."""

    pixels: Tensor
    classes: Tensor

    @property
    def labels(self) -> tuple[str, ...]:
        """The ten digits."""
        return labels.digits()

    def __len__(self) -> int:
        """How many digits there are."""
        return len(self.classes)

    def resized(self, spec: InputSpec) -> "Digits":
        """Digits of the wanted size; where three channels are wanted, they are the grey one three times."""
        pixels = self.pixels
        if pixels.shape[2:] != (spec.height, spec.width):
            images = [Image.fromarray(digit) for digit in pixels[:, 0].numpy()]
            pixels = torch.stack([_to_tensor(_resize_and_crop(digit, spec)) for digit in images])
        # A view: the channels cost nothing until a batch is taken.
        return Digits(pixels.expand(-1, spec.channels, -1, -1), self.classes)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The digits at these indices, uint8 [N, C, H, W], and their classes, int64 [N]."""
        return self.pixels[indices], self.classes[indices]


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Picture files with their classes; each is decoded anew whenever a batch has it, so that any number fits."""

    files: tuple[tuple[str, int], ...]
    labels: tuple[str, ...]
    spec: InputSpec

    def __len__(self) -> int:
        """How many pictures there are."""
        return len(self.files)

    def resized(self, spec: InputSpec) -> "ImageFiles":
        """The same pictures for another model."""
        return ImageFiles(self.files, self.labels, spec)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures at these indices, uint8 [N, C, H, W], and their classes, int64 [N].

        Raises:
            OSError: a file cannot be read as a picture; the message names it.
        """
        chosen = [self.files[place] for place in indices.tolist()]
        pixels = torch.stack([_to_tensor(_resize_and_crop(_open(path, self.spec), self.spec)) for path, _ in chosen])
        return pixels, torch.tensor([place for _, place in chosen])


def load_mnist(root: Path, train: bool) -> Digits:
    """Reads MNIST below `root` (torchvision's layout), downloading it if it is not there.

    Raises:
        RuntimeError: it is not there and cannot be downloaded.
    """
    try:
        data = MNIST(str(root), train=train, download=not (root / "MNIST" / "raw").is_dir())
    except (RuntimeError, OSError) as error:
        raise RuntimeError(f"MNIST is not in {root} and cannot be downloaded ({error}); name its folder") from error
    return Digits(data.data.unsqueeze(1), data.targets)


def load_image_folders(root: Path, spec: InputSpec) -> tuple[ImageFiles, ImageFiles]:
    """Lists `root`/train/CLASS/* to learn from and `root`/val/CLASS/* to judge by; the classes go by the alphabet.

    Raises:
        OSError: one of the folders is not there, or a class in it has no pictures.
        ValueError: the two do not have the same classes.
    """
    for part in (_TRAINING, _VALIDATION):
        if not (root / part).is_dir():
            raise FileNotFoundError(f"there is no folder {root / part}; pictures go to train/CLASS/ and val/CLASS/")
    training, validation = (ImageFolder(str(root / part)) for part in (_TRAINING, _VALIDATION))
    unmatched = sorted(set(training.classes) ^ set(validation.classes))
    if unmatched:
        raise ValueError(f"{root / _TRAINING} and {root / _VALIDATION} differ in the classes {', '.join(unmatched)}")
    names = tuple(training.classes)
    return ImageFiles(tuple(training.samples), names, spec), ImageFiles(tuple(validation.samples), names, spec)


def _open(path: str, spec: InputSpec) -> Image.Image:
    try:
        with Image.open(path) as file:
            return ImageOps.exif_transpose(file).convert("L" if spec.channels == 1 else "RGB")
    except OSError as error:
        raise OSError(f"{path} cannot be read as a picture ({error}); mend or remove it") from error


def _resize_and_crop(picture: Image.Image, spec: InputSpec) -> Image.Image:
    resized = transforms.resize(picture, [spec.resize], InterpolationMode(spec.interpolation))
    cut: Image.Image = transforms.center_crop(resized, [spec.height, spec.width])
    return cut


def _to_tensor(picture: Image.Image) -> Tensor:
    pixels = torch.from_numpy(numpy.array(picture))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
