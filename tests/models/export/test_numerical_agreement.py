"""The exported TorchScript and the server compute what the network computes, for every model and several batch sizes.

Each model is exported once. Its network, the exported TorchScript, and the server's forms of it (frozen, on all cores
and on one, and by OpenVINO) then run on the same images. `tests/e2e/test_whole_zoo.py` adds gRPC.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.manifest import MODEL_FILE
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.registry import ZOO
from linnaeus.models.weights.selection import select_weights
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ZooModel
from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact_checks import Artifact, load_module, read_artifact
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.model import Model
from linnaeus.server.runtime.openvino_conversion import openvino_model
from linnaeus.server.runtime.runner_factory import RunnerOptions, open_runner, torch_runner
from linnaeus.server.runtime.variants import Variant

TOLERANCE = 1e-5
BATCHES = (1, 2, 7)
CPU = torch.device("cpu")
OPENVINO = Variant("openvino", "float32")
# `auto` serves these by TorchScript: the frontend cannot type a branch of their local response normalisation.
_NOT_CONVERTED = dict.fromkeys(("alexnet_two_tower", "zfnet"), "OpenVINO cannot convert it: .*prim::If")
# Little memory: one compiled model for the largest batch, and one for all other sizes.
_RUNNER_OPTIONS = RunnerOptions(lambda: None, 100 << 20, 2.0)
# One of each kind that runs in about a second.
_QUICK = {"lenet", "lenet5", "mnist_cnn", "simple_cnn", "resnet18"}
# With the quick ones, every kind of layer that the zoo has: the larger networks repeat them.
_KINDS = {
    *("alexnet_two_tower", "zfnet", "googlenet", "densenet_cifar", "densenet_bc_100_12"),
    *("regnet_x_400mf", "regnet_y_400mf", "efficientnet_lite0"),
}
# The largest models take half a minute on two idle cores.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Subject:
    model: ZooModel
    eager: PixelClassifier
    script: torch.jit.ScriptModule
    served: Model
    openvino: Model | None


@contextmanager
def no_initialization() -> Iterator[None]:
    """Skips the initialization, whose values the weights replace: it takes up to a second."""
    drawing = [name for name in vars(torch.nn.init) if name.endswith("_") and not name.startswith("_")]
    with mock.patch.multiple(torch.nn.init, **dict.fromkeys(drawing, lambda tensor, *_, **__: tensor)):
        yield


def _param(name: str) -> object:
    marks = () if name in _QUICK else pytest.mark.slow if name in _KINDS else pytest.mark.release
    return pytest.param(name, marks=marks)


@pytest.fixture(params=[_param(name) for name in ZOO])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    model = ZOO[request.param]
    weights = select_weights(model, "random" if model.bundled is None else "bundled")[1]
    with no_initialization():
        artifact = read_artifact(export_torchscript(model, weights, tmp_path, 1))
        eager = eager_classifier(model, weights)
    subject = Subject(
        model,
        eager,
        torch.jit.load(str(artifact.folder / MODEL_FILE)),
        # as from `load_model`, without the warm-up
        Model(
            artifact, CPU, torch_runner(load_module(artifact, CPU), artifact.manifest, CPU, max(BATCHES)), max(BATCHES)
        ),
        by_openvino(artifact),
    )
    yield subject
    for served in filter(None, (subject.served, subject.openvino)):
        served.close()
    # a VGG has half a gigabyte, and pytest keeps the folders of three runs
    shutil.rmtree(tmp_path)


def by_openvino(artifact: Artifact) -> Model | None:
    """Returns the model by OpenVINO; None if it cannot be converted, which is checked."""
    if artifact.manifest.name in _NOT_CONVERTED:
        with pytest.raises(ModelRefused, match=_NOT_CONVERTED[artifact.manifest.name]):
            openvino_model(artifact)
        return None
    return Model(artifact, CPU, open_runner(artifact, CPU, max(BATCHES), OPENVINO, _RUNNER_OPTIONS), max(BATCHES))


@pytest.fixture
def all_cores() -> Iterator[int]:
    """Returns the number of threads and restores it after the test."""
    threads = torch.get_num_threads()
    yield threads
    torch.set_num_threads(threads)


def outputs_for_wrong_inputs(subject: Subject, picture: Tensor) -> dict[str, Tensor]:
    """Returns the outputs for wrong inputs, which the test must be able to detect."""
    colours = picture.flip(1) if subject.model.input.channels == 3 else 255 - picture
    # pixels between 0 and 1 without normalization
    mean = torch.tensor(subject.model.mean).view(1, -1, 1, 1)
    deviation = torch.tensor(subject.model.std).view(1, -1, 1, 1)
    raw = torch.softmax(subject.eager.backbone(picture / 255), 1)
    assert not torch.equal(picture / 255, (picture / 255 - mean) / deviation)
    return {"swapped colours": subject.eager(colours), "missing normalisation": raw}


def server_output(subject: Subject, served: Model, batch: Tensor) -> Tensor:
    """Returns the output of the server's model for uint8 [N, C, H, W], in the order of the classes."""
    images = [picture.permute(1, 2, 0).numpy() for picture in batch]
    rankings = served.run(images, subject.model.classes)
    answer = torch.full((len(batch), subject.model.classes), torch.nan)
    for row, ranking in zip(answer, rankings, strict=True):
        row[ranking.indices] = torch.tensor(ranking.probabilities)
    return answer


def assert_agrees(answer: Callable[[Tensor], Tensor], batch: Tensor, expected: Tensor, sizes: tuple[int, ...]) -> None:
    for size in sizes:
        given = answer(batch[:size])
        assert given.shape == expected[:size].shape and given.dtype == torch.float32, f"batch size {size}"
        difference = float((given - expected[:size]).abs().max())
        assert difference < TOLERANCE, f"batch size {size}: {difference:.2g}"
        assert torch.equal(given.argmax(1), expected[:size].argmax(1)), f"batch size {size}"


def test_network_torchscript_and_server_agree_at_batch_sizes_1_2_and_7(subject: Subject, all_cores: int) -> None:
    batch = synthetic_images(subject.model.input, max(BATCHES), seed=11)
    with torch.inference_mode(), without_profiling():
        expected = subject.eager(batch)
        wrong = outputs_for_wrong_inputs(subject, batch[:1])
        assert_agrees(subject.script, batch, expected, BATCHES)
    wrong["another image"] = expected[1:2]
    for mistake, answer in wrong.items():
        seen = float((answer - expected[:1]).abs().max())
        assert seen > 100 * TOLERANCE, f"the test could not detect {mistake}: {seen:.2g}"
    for served in filter(None, (subject.served, subject.openvino)):
        assert_agrees(lambda images, served=served: server_output(subject, served, images), batch, expected, BATCHES)
    # as when other batches run and each has one core: torch chooses other kernels then
    torch.set_num_threads(1)
    assert_agrees(lambda images: server_output(subject, subject.served, images), batch, expected, BATCHES[:-1])
