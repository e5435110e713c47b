"""A model that costs nothing: its answer is the same for every image, so what is measured is the server around it."""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks.common.images import PHOTOGRAPHS, digits, photographs
from benchmarks.common.scripted_model import numbered_labels, use_torchscript, write_scripted_model
from benchmarks.peers.request_sets import RequestSet, Samples, classify_requests
from benchmarks.peers.workloads import grey_pixels
from linnaeus.models.export.version_folder import check_input
from linnaeus.models.manifest import MODEL_FILE, InputSpec

_CLASSES = 10
_ANSWER = 3
_PROBABILITY = 0.55
_BATCH = 8
_REPETITIONS = 1000


@dataclass(frozen=True, slots=True)
class FreeModel:
    """A free model and how it is called.

    Attributes:
        version: its version folder.
        input: what it takes.
        what: what is sent, as it is printed.
        requests: for it.
    """

    version: Path
    input: InputSpec
    what: str
    requests: RequestSet

    def seconds(self) -> float:
        """Returns how long the model by itself takes for a batch of eight, without the server."""
        script, seconds = torch.jit.load(str(self.version / MODEL_FILE)), list[float]()  # type: ignore[no-untyped-call]
        pixels = check_input(self.input).expand(_BATCH, -1, -1, -1)
        with torch.inference_mode():
            for _ in range(_REPETITIONS):
                started = time.perf_counter()
                script(pixels)
                seconds.append(time.perf_counter() - started)
        return median(seconds)


class ConstantAnswer(nn.Module):
    """Maps uint8 [N, C, H, W] to the same float32 probabilities [N, classes] for every image."""

    def __init__(self) -> None:
        super().__init__()
        self.answer: Tensor
        self.register_buffer("answer", torch.full((1, _CLASSES), (1 - _PROBABILITY) / (_CLASSES - 1)))
        self.answer[0, _ANSWER] = _PROBABILITY

    def forward(self, pixels: Tensor) -> Tensor:
        """Returns a row for each image."""
        return self.answer.expand(pixels.size(0), -1)


def free_pixels(folder: Path) -> FreeModel:
    """Writes a free model of `lenet`'s input, which is called with pixels."""
    images = tuple(grey_pixels(path) for path in digits())
    spec = InputSpec(channels=1, height=28, width=28, resize=28, interpolation="bilinear")
    return _free_model(folder, "free_pixels", spec, "pixels 28x28x1", images, (1, 28, 28))


def free_jpeg(folder: Path) -> FreeModel:
    """Writes a free model of `resnet18`'s input, which is called with photographs."""
    images = tuple(path.read_bytes() for path in photographs(folder))
    spec = InputSpec(channels=3, height=224, width=224, resize=256, interpolation="bilinear")
    return _free_model(folder, "free_jpeg", spec, f"{PHOTOGRAPHS} to 224x224x3", images, None)


def _free_model(
    folder: Path, name: str, spec: InputSpec, what: str, images: tuple[bytes, ...], shape: tuple[int, int, int] | None
) -> FreeModel:
    version = _write(name, spec, folder / "repository")
    samples = Samples(name, images, shape, expected=(_ANSWER,) * len(images))
    return FreeModel(version, spec, what, classify_requests(samples))


def _write(name: str, spec: InputSpec, repository: Path) -> Path:
    labels = numbered_labels("class", _CLASSES)
    folder = write_scripted_model(ConstantAnswer(), repository, name, spec, labels, architecture="constant_answer")
    use_torchscript(folder)  # beginning and ending a run takes OpenVINO 40 µs, and torch 5
    return folder
