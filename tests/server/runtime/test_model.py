"""What a served model computes is what the network computes, whoever shares its batch."""

from dataclasses import dataclass
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.registry import find
from linnaeus.server.errors import StartupError
from linnaeus.server.runtime.cpu import CpuRunner
from linnaeus.server.runtime.device import resolve_device
from linnaeus.server.runtime.model import Model, OutOfMemory, Pixels, load_model
from linnaeus.server.runtime.runner import TopK
from linnaeus.server.runtime.topk import top_k

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


def noise(count: int, model: Model) -> Pixels:
    spec = model.manifest.input
    shape = (count, spec.height, spec.width, spec.channels)
    return numpy.random.default_rng(7).integers(0, 256, shape, dtype=numpy.uint8)


def full_probabilities(model: Model, images: Pixels) -> numpy.ndarray:
    """The served probabilities by class index, [N, classes]."""
    rows = numpy.zeros((len(images), model.manifest.classes), numpy.float32)
    for row, ranking in zip(rows, model.run(list(images), model.manifest.classes), strict=True):
        row[ranking.indices] = ranking.probabilities
    return rows


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", ["lenet", "efficientnet_lite0"])
def test_served_probabilities_equal_the_eager_network_alone_and_at_every_place_of_a_full_batch(
    name: str, device: str, repository
) -> None:
    size = 4
    model = load_model(repository / name / "1", resolve_device(device), size)
    eager = eager_classifier(find(name), find(name).bundled_weights())
    images = noise(size, model)
    with torch.inference_mode():
        expected = eager(torch.from_numpy(images).permute(0, 3, 1, 2)).numpy()
    tolerance = 1e-5 if device == "cpu" else 1e-3  # TF32 convolutions
    alone = numpy.concatenate([full_probabilities(model, images[place : place + 1]) for place in range(size)])
    assert abs(alone - expected).max() < tolerance
    for shift in range(size):  # every image comes to every place
        rolled = numpy.roll(images, shift, axis=0)
        assert abs(full_probabilities(model, rolled) - numpy.roll(expected, shift, axis=0)).max() < tolerance
    # The test could fail: a neighbour's answer and swapped rows differ by far more than the tolerance.
    assert abs(expected - numpy.roll(expected, 1, axis=0)).max() > 100 * 1e-5


def test_a_batch_size_found_by_measuring_is_within_bounds_and_timed(repository) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 0)
    sizes = [timing.size for timing in model.timings]
    assert sizes == sorted(set(sizes)) and sizes[0] == 1
    assert sizes[-1] == model.max_batch_size <= 32


def test_too_little_memory_is_told_from_other_failures_and_the_model_runs_on(repository) -> None:
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
def test_a_model_works_as_long_as_a_blank_picture_goes_through(repository, error: Exception) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 1)
    assert model.works()
    runner, model._runner = model._runner, Failing(error)
    assert not model.works()
    model._runner = runner
    assert model.works()


@dataclass
class Failing:
    """A runner whose every run fails."""

    error: Exception

    def run(self, images: object, k: int) -> TopK:
        raise self.error

    def keep(self, sizes: object) -> None: ...

    def close(self) -> None: ...


@given(
    rows=st.lists(st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5]), min_size=6, max_size=6), min_size=1, max_size=4),
    k=st.integers(1, 6),
)
@settings(deadline=None)
def test_equal_probabilities_go_by_lower_index_also_across_the_kth_place(rows: list[list[float]], k: int) -> None:
    values, indices = top_k(torch.tensor(rows), k)
    for row, row_values, row_indices in zip(rows, values.tolist(), indices.tolist(), strict=True):
        expected = sorted(range(6), key=lambda index: (-row[index], index))[:k]
        assert row_indices == expected
        assert row_values == [row[index] for index in expected]


@pytest.mark.parametrize("name", ["", "gpu", "cuda:99", "mps", "cpu:x"])
def test_a_device_that_is_not_there_is_one_clear_sentence(name: str) -> None:
    with pytest.raises(StartupError, match="device"):
        resolve_device(name)


@pytest.mark.gpu
def test_auto_takes_the_gpu_where_there_is_one() -> None:
    assert resolve_device("auto").type == "cuda"


class FailingOnBlank(torch.nn.Module):
    """Raises in the model's own words, which torch passes on as an error of its own kind."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if int(pixels.sum()) == 0:
            raise ValueError("nothing to see")
        return torch.softmax(pixels.flatten(1)[:, :10].to(torch.float32), dim=1)


def test_a_model_that_raises_in_its_own_words_does_not_work(repository: Path) -> None:
    model = load_model(repository / "lenet" / "1", torch.device("cpu"), 1)
    assert model.works()
    model._runner = CpuRunner(torch.jit.script(FailingOnBlank()), model.manifest.input, 1)
    assert not model.works()
