"""Small models for tests, with a known duration and an optional fault.

An image is 8 x 8 grey pixels, sent raw, so that each byte reaches the model unchanged. Its first byte is a number of
work units if its last byte repeats it. A fragile model raises for a batch of two or more whose bytes add up to
`FATAL_REMAINDER` modulo `FATAL_MODULUS`, and for an image with 255 work units, alone or not.
"""

import math
import time
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.common.scripted_model import numbered_labels, use_torchscript, write_scripted_model
from linnaeus.models.manifest import InputSpec
from linnaeus.v1 import classifier_pb2 as v1

SIDE = 8
CLASSES = 10
FATAL_MODULUS = 8
FATAL_REMAINDER = 7
_WIDTH = 256


class MatrixProducts(nn.Module):
    """Multiplies matrices: a fixed number of products for each image, and more for each work unit.

    Its answer differs between images: a softmax over the means of ten pieces of the image.
    """

    def __init__(self, products: int, work_unit_products: int = 0, fragile: bool = False) -> None:
        super().__init__()
        self.products = products
        self.work_unit_products = work_unit_products
        self.fragile = fragile
        self.fatal_modulus, self.fatal_remainder = FATAL_MODULUS, FATAL_REMAINDER  # TorchScript cannot read globals
        self.matrix: Tensor
        self.register_buffer("matrix", torch.eye(_WIDTH))

    def forward(self, pixels: Tensor) -> Tensor:
        if self.fragile and pixels.size(0) > 1 and int(pixels.sum()) % self.fatal_modulus == self.fatal_remainder:
            raise RuntimeError("this model does not like that batch")
        first, last = pixels[:, 0, 0, 0], pixels[:, 0, -1, -1]
        image_with_work = first * (first == last)
        if self.fragile and int(image_with_work.amax()) == 255:
            raise RuntimeError("this model does not like that picture")
        asked = int(image_with_work.sum())
        product = self.matrix + pixels[0, 0, 0, 0]
        for _ in range(self.products * pixels.size(0) + self.work_unit_products * asked):
            product = torch.tanh(product @ self.matrix)
        pieces = torch.nn.functional.adaptive_avg_pool1d(pixels.flatten(1).to(torch.float32).unsqueeze(1), 10)
        return torch.softmax(pieces.squeeze(1) / 16.0 + 0.0 * product.mean(), dim=1)


def write_model(
    repository: Path,
    name: str,
    seconds: float = 0.0,
    *,
    work_unit_seconds: float = 0.0,
    fragile: bool = False,
    config: str = "",
) -> None:
    """Writes version 1 of a model, and its config.toml.

    Args:
        repository: the repository folder; created if it does not exist.
        name: name of the model.
        seconds: approximate duration per image on this machine when it is idle.
        work_unit_seconds: additional duration per work unit of an image.
        fragile: whether some batches raise.
        config: further contents of config.toml.
    """
    model = MatrixProducts(_products(seconds), _products(work_unit_seconds), fragile)
    spec = InputSpec(channels=1, height=SIDE, width=SIDE, resize=SIDE, interpolation="bilinear")
    labels = numbered_labels("piece", CLASSES)
    version = write_scripted_model(model, repository, name, spec, labels, architecture="matrix_products")
    use_torchscript(version, config)


def _products(seconds: float) -> int:
    """Returns how many matrix products take this long, so that fast and slow machines are loaded equally."""
    return math.ceil(seconds / _product_seconds()) if seconds else 0


@cache
def _product_seconds() -> float:
    matrix = torch.eye(_WIDTH)
    tries = []
    for _ in range(1000):
        started = time.perf_counter()
        torch.tanh(matrix @ matrix)
        tries.append(time.perf_counter() - started)
    return min(tries)  # on a busy machine nearly all tries are far too long


def picture(data: bytes = bytes(SIDE * SIDE)) -> v1.Image:
    """Returns a raw image; blank by default."""
    return v1.Image(pixels=v1.RawPixels(data=data, height=SIDE, width=SIDE, channels=1))


def image_with_work(work: int) -> v1.Image:
    """Returns an image with this many work units, up to 255."""
    return picture(bytes([work]) + bytes(SIDE * SIDE - 2) + bytes([work]))


def request(model: str, image: v1.Image | None = None, **fields: object) -> v1.ClassifyRequest:
    """Returns a request for one image; a blank one by default."""
    return v1.ClassifyRequest(image=image or picture(), model=model, **fields)
