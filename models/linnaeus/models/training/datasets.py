"""Training images, prepared as the server prepares them: uint8 pixels of the model's size and channels."""

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
from linnaeus.models.training.mnist_files import complete_mnist

_TRAINING, _VALIDATION = "train", "val"


class LabeledImages(Protocol):
    """Images with their classes, in any order."""

    @property
    def labels(self) -> tuple[str, ...]:
        """One label per class."""

    def __len__(self) -> int:
        """Number of images."""

    def resized(self, spec: InputSpec) -> "LabeledImages":
        """Returns the same images, resized and center-cropped as the server does."""

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the images at these indices, uint8 [N, C, H, W], and their classes, int64 [N]."""


@dataclass(frozen=True, slots=True)
class Digits:
    """MNIST or a subset: uint8 pixels [N, C, H, W], as loaded [N, 1, 28, 28], and int64 classes [N]."""

    pixels: Tensor
    classes: Tensor

    @property
    def labels(self) -> tuple[str, ...]:
        """The ten digits."""
        return labels.digits()

    def __len__(self) -> int:
        """Number of digits."""
        return len(self.classes)

    def resized(self, spec: InputSpec) -> "Digits":
        """Returns the digits in the size of `spec`; for three channels the gray one is repeated."""
        pixels = self.pixels
        if pixels.shape[2:] != (spec.height, spec.width):
            images = [Image.fromarray(digit) for digit in pixels[:, 0].numpy()]
            pixels = torch.stack([_to_tensor(_resize_and_crop(digit, spec)) for digit in images])
        # A view: the repeated channels need no memory until a batch is taken.
        return Digits(pixels.expand(-1, spec.channels, -1, -1), self.classes)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the digits at these indices, uint8 [N, C, H, W], and their classes, int64 [N]."""
        return self.pixels[indices], self.classes[indices]


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """Image files with their classes; files are decoded for each batch, so that memory does not limit their number."""

    files: tuple[tuple[str, int], ...]
    labels: tuple[str, ...]
    spec: InputSpec

    def __len__(self) -> int:
        """Number of images."""
        return len(self.files)

    def resized(self, spec: InputSpec) -> "ImageFiles":
        """Returns the same images for another model."""
        return ImageFiles(self.files, self.labels, spec)

    def batch(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the images at these indices, uint8 [N, C, H, W], and their classes, int64 [N].

        Raises:
            OSError: if a file is not an image; the message names the file.
        """
        files = [self.files[index] for index in indices.tolist()]
        pixels = torch.stack([_to_tensor(_resize_and_crop(_open(path, self.spec), self.spec)) for path, _ in files])
        return pixels, torch.tensor([class_index for _, class_index in files])


def load_mnist(root: Path, train: bool) -> Digits:
    """Reads MNIST below `root` in torchvision's layout; downloads what of it is missing or broken.

    Raises:
        RuntimeError: if something is missing or broken and cannot be downloaded.
    """
    complete_mnist(root)
    data = MNIST(str(root), train=train)
    return Digits(data.data.unsqueeze(1), data.targets)


def load_image_folders(root: Path, spec: InputSpec) -> tuple[ImageFiles, ImageFiles]:
    """Lists the training images `root`/train/CLASS/* and the test images `root`/val/CLASS/*, classes in name order.

    Raises:
        OSError: if a folder does not exist, or a class has no images.
        ValueError: if the two folders do not have the same classes.
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


def _resize_and_crop(image: Image.Image, spec: InputSpec) -> Image.Image:
    resized = transforms.resize(image, [spec.resize], InterpolationMode(spec.interpolation))
    cropped: Image.Image = transforms.center_crop(resized, [spec.height, spec.width])
    return cropped


def _to_tensor(image: Image.Image) -> Tensor:
    pixels = torch.from_numpy(numpy.array(image))
    return pixels.unsqueeze(0) if pixels.ndim == 2 else pixels.permute(2, 0, 1)
