"""A served model computes what the eager network computes, whatever else is in its batch."""

from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import torch

from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.registry import find
from linnaeus.server.errors import StartupError
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.device import resolve_device
from linnaeus.server.runtime.model import Model, OutOfMemory, Pixels
from linnaeus.server.runtime.model_loading import load_model
from linnaeus.server.runtime.runner import BatchOutput

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def noise(count: int, model: Model) -> Pixels:
    spec = model.manifest.input
    shape = (count, spec.height, spec.width, spec.channels)
    return numpy.random.default_rng(7).integers(0, 256, shape, dtype=numpy.uint8)


def full_probabilities(model: Model, images: Pixels) -> numpy.ndarray:
    """Returns the served probabilities by class index, [N, classes]."""
    rows = numpy.zeros((len(images), model.manifest.classes), numpy.float32)
    for row, ranking in zip(rows, model.run(list(images), model.manifest.classes), strict=True):
        row[ranking.indices] = ranking.probabilities
    return rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["lenet", pytest.param("efficientnet_lite0", marks=pytest.mark.slow)])
def test_served_probabilities_equal_the_eager_network_at_every_place_of_a_batch(
    name: str, device: str, repository
) -> None:
    size = 4
    model = load_model(repository / name / "1", resolve_device(device), size)
    eager = eager_classifier(find(name), find(name).bundled_weights())
    images = noise(size, model)
    with torch.inference_mode():
        expected = eager(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    tolerance = 1e-5 if device == "cpu" else 1e-3  # the GPU may use TF32 convolutions
    alone = numpy.concatenate([full_probabilities(model, images[place : place + 1]) for place in range(size)])
    assert abs(alone - expected).max() < tolerance
    for shift in range(size):  # puts every image at every place
        rolled = numpy.roll(images, shift, axis=0)
        assert abs(full_probabilities(model, rolled) - numpy.roll(expected, shift, axis=0)).max() < tolerance
    # Shows that the comparison can fail: swapped rows differ by far more than the tolerance.
    assert abs(expected - numpy.roll(expected, 1, axis=0)).max() > 100 * 1e-5


def test_a_measured_batch_size_is_within_bounds_and_timed(repository) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 0)
    sizes = [timing.size for timing in model.timings]
    assert sizes == sorted(set(sizes)) and sizes[0] == 1
    assert sizes[-1] == model.max_batch_size <= 32


def test_out_of_memory_is_distinguished_from_other_failures_and_the_model_still_runs(repository) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 2)
    images, runner = list(noise(2, model)), model._runner
    model._runner = Failing(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"))
    with pytest.raises(OutOfMemory) as refusal:
        model.run(images, 1)
    assert "\n" not in str(refusal.value)
    model._runner = Failing(RuntimeError("other"))
    with pytest.raises(RuntimeError) as failure:
        model.run(images, 1)
    assert not isinstance(failure.value, OutOfMemory)
    model._runner = runner
    assert len(model.run(images, 1)) == 2


@pytest.mark.parametrize("error", [RuntimeError("other"), torch.OutOfMemoryError("CUDA out of memory")])
def test_a_model_works_if_it_can_run_a_blank_image(repository, error: Exception) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 1)
    assert model.works()
    runner, model._runner = model._runner, Failing(error)
    assert not model.works()
    model._runner = runner
    assert model.works()


@dataclass
class Failing:
    """A runner that fails every run."""

    error: Exception

    def run(self, images: object, k: int, want_features: bool = False) -> BatchOutput:
        raise self.error

    def keep_sizes(self, sizes: object) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "mps", "cpu:x"])
def test_a_device_that_does_not_exist_raises_a_startup_error(name: str) -> None:
    with pytest.raises(StartupError, match="device"):
        resolve_device(name)


@pytest.mark.gpu
def test_auto_selects_the_gpu_if_there_is_one() -> None:
    assert resolve_device("auto").type == "cuda"


class FailingOnBlank(torch.nn.Module):
    """Raises an error of its own, which torch passes on as torch.jit.Error."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if int(pixels.sum()) == 0:
            raise ValueError("nothing to see")
        return torch.softmax(pixels.flatten(1)[:, :10].to(torch.float32), dim=1)


def test_a_model_whose_own_code_raises_does_not_work(repository: Path) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 1)
    assert model.works()
    model._runner = CpuRunner(torch.jit.script(FailingOnBlank()), model.manifest.input, 1)
    assert not model.works()
