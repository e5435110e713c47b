"""Models for tests: small, with a cost that is known and a fault that can be called for.

A picture is 8 x 8 grey pixels, sent raw, so that each byte reaches the model as it is. Its first byte asks for work if
its last one repeats it. A fragile model raises for a batch of two or more whose bytes add up to `FATAL` modulo
`ONE_IN`, and for a picture that asks for 255, alone or not.
"""

import math
import time
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from linnaeus.models.export.version_folder import VersionContent, check_input, write_version
from linnaeus.models.manifest import InputSpec, Weights
from linnaeus.v1 import classifier_pb2 as v1

SIDE = 8
CLASSES = 10
ONE_IN = 8
FATAL = 7
_WIDTH = 256


class Labourer(nn.Module):
    """Multiplies matrices: so often for each picture, and as often again as the pictures' first bytes ask for.

    Its answer tells pictures apart: a softmax over the means of ten pieces of the picture.
    """

    def __init__(self, products: int, asked_products: int = 0, fragile: bool = False) -> None:
        super().__init__()
        self.products = products
        self.asked_products = asked_products
        self.fragile = fragile
        self.one_in, self.fatal = ONE_IN, FATAL  # TorchScript sees no globals
        self.matrix: Tensor
        self.register_buffer("matrix", torch.eye(_WIDTH))

    def forward(self, pixels: Tensor) -> Tensor:
        if self.fragile and pixels.size(0) > 1 and int(pixels.sum()) % self.one_in == self.fatal:
            raise RuntimeError("this model does not like that batch")
        first, last = pixels[:, 0, 0, 0], pixels[:, 0, -1, -1]
        asking = first * (first == last)
        if self.fragile and int(asking.amax()) == 255:
            raise RuntimeError("this model does not like that picture")
        asked = int(asking.sum())
        product = self.matrix + pixels[0, 0, 0, 0]
        for _ in range(self.products * pixels.size(0) + self.asked_products * asked):
            product = torch.tanh(product @ self.matrix)
        pieces = torch.nn.functional.adaptive_avg_pool1d(pixels.flatten(1).to(torch.float32).unsqueeze(1), 10)
        return torch.softmax(pieces.squeeze(1) / 16.0 + 0.0 * product.mean(), dim=1)


def write_model(
    repository: Path,
    name: str,
    seconds: float = 0.0,
    *,
    asked_seconds: float = 0.0,
    fragile: bool = False,
    config: str = "",
) -> None:
    """Writes version 1 of a model, and its config.toml if there is any.

    Args:
        repository: made if it is not there.
        name: the model's.
        seconds: how long each picture takes, more or less, on this machine when it is quiet.
        asked_seconds: how much more, for each unit that a picture asks for.
        fragile: whether some batches make it raise.
        config: what its config.toml says.
    """
    model = Labourer(_products(seconds), _products(asked_seconds), fragile).eval()
    script: torch.jit.ScriptModule = torch.jit.script(model)
    spec = InputSpec(channels=1, height=SIDE, width=SIDE, resize=SIDE, interpolation="bilinear")
    with torch.inference_mode():
        probabilities = tuple(script(check_input(spec))[0].tolist())
    content = VersionContent(
        name=name,
        architecture="labourer",
        input=spec,
        labels=tuple(f"piece {place}" for place in range(CLASSES)),
        weights=Weights("made for tests"),
        script=script,
        probabilities=probabilities,
    )
    write_version(content, repository, 1)
    if config:
        (repository / name / "config.toml").write_text(config, encoding="utf-8")


def _products(seconds: float) -> int:
    """How many matrix products take that long, so that fast and slow machines are overloaded alike."""
    return math.ceil(seconds / _product_seconds()) if seconds else 0


@cache
def _product_seconds() -> float:
    matrix = torch.eye(_WIDTH)
    tries = []
    for _ in range(1000):
        began = time.perf_counter()
        torch.tanh(matrix @ matrix)
        tries.append(time.perf_counter() - began)
    return min(tries)  # of a busy machine's tries, nearly all are far too long


def picture(data: bytes = bytes(SIDE * SIDE)) -> v1.Image:
    """A raw picture, blank if nothing is said."""
    return v1.Image(pixels=v1.RawPixels(data=data, height=SIDE, width=SIDE, channels=1))


def asking(work: int) -> v1.Image:
    """A picture that asks for so much work, up to 255."""
    return picture(bytes([work]) + bytes(SIDE * SIDE - 2) + bytes([work]))


def request(model: str, image: v1.Image | None = None, **fields: object) -> v1.ClassifyRequest:
    """A call for one picture, a blank one if none is given."""
    return v1.ClassifyRequest(image=image or picture(), model=model, **fields)
