"""Training images are prepared as the server prepares them."""

from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from linnaeus.models import training
from linnaeus.models.manifest import InputSpec
from linnaeus.models.training import Digits
from linnaeus.server.decoding.decode import decode
from linnaeus.server.requests.picture import RawPixels

SPEC = InputSpec(channels=3, height=32, width=32, resize=32, interpolation="bilinear")


def test_digits_are_shown_as_the_server_shows_them(mnist_subset: Digits) -> None:
    pixels, classes = mnist_subset.resized(SPEC).batch(torch.arange(5))
    assert pixels.shape == (5, 3, 32, 32) and pixels.dtype == torch.uint8
    assert torch.equal(classes, mnist_subset.classes[:5])
    for digit, shown in zip(mnist_subset.pixels, pixels, strict=False):
        served = decode(RawPixels(digit.numpy().tobytes(), 28, 28, 1), SPEC, 10_000)
        difference = torch.from_numpy(served).permute(2, 0, 1).int() - shown.int()
        assert difference.abs().max() <= 1


def test_pictures_are_shown_as_the_server_shows_them(image_folders: Path) -> None:
    spec = InputSpec(channels=3, height=40, width=40, resize=48, interpolation="bicubic")
    learning, _ = training.load_image_folders(image_folders, spec)
    pixels, classes = learning.batch(torch.tensor([11]))
    file = numpy.array(Image.open(image_folders / "train" / "red" / "5.png"))
    served = decode(RawPixels(file.tobytes(), *file.shape), spec, 100_000)
    assert classes.tolist() == [1] and learning.labels == ("blue", "red")
    assert (torch.from_numpy(served).permute(2, 0, 1).int() - pixels[0].int()).abs().max() <= 1


def test_pictures_that_cannot_be_used_are_one_sentence(image_folders: Path) -> None:
    with pytest.raises(FileNotFoundError, match="pictures go to train/CLASS/ and val/CLASS/"):
        training.load_image_folders(image_folders / "train", SPEC)
    (image_folders / "train" / "blue" / "0.png").write_bytes(b"no picture")
    with pytest.raises(OSError, match=r"blue/0\.png cannot be read as a picture"):
        training.load_image_folders(image_folders, SPEC)[0].batch(torch.tensor([0]))
    (image_folders / "val" / "red").rename(image_folders / "val" / "green")
    with pytest.raises(ValueError, match="differ in the classes green, red"):
        training.load_image_folders(image_folders, SPEC)
