"""What is exported computes what the network computes, for every name of the zoo and at any batch size.

Networks that take other sizes are exported at half their height and width: the layers and weights are the same, and
a quarter of the arithmetic keeps the whole zoo within minutes. `export` itself compares every version at full size.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from linnaeus.models.export import export
from linnaeus.models.registry import ZOO
from linnaeus.models.torchscript import PixelClassifier, eager_classifier
from linnaeus.models.weights.choice import choose
from linnaeus.models.weights.pictures import pictures
from linnaeus.models.zoo_model import ZooModel
from linnaeus.server.runtime.artifact import load_module, read_artifact
from linnaeus.server.runtime.device import without_profiling

TOLERANCE = 1e-5
BATCHES = (1, 2, 7)
_HALVED_FROM = 224


@dataclass(frozen=True)
class Subject:
    model: ZooModel
    eager: PixelClassifier
    script: torch.jit.ScriptModule


def smaller(model: ZooModel) -> ZooModel:
    """The model at half its size, if it is large and its network takes that."""
    spec = model.input
    if spec.height < _HALVED_FROM:
        return model
    half = replace(spec, height=spec.height // 2, width=spec.width // 2, resize=spec.resize // 2)
    try:
        with torch.device("meta"), torch.inference_mode():
            model.network().eval()(torch.zeros(1, half.channels, half.height, half.width))
    except RuntimeError:
        return model
    return replace(model, input=half)


# All take three minutes on two quiet cores: LINNAEUS_WHOLE_ZOO=1 runs them.
_FEW = (
    "lenet",
    "lenet5",
    "mnist_cnn",
    "simple_cnn",
    "efficientnet_lite0",
    "alexnet_two_tower",
    "zfnet",
    "googlenet_plain",
    "resnet18",
    "inception_densenet121",
    "densenet_cifar",
    "densenet_bc_100_12",
)


@pytest.fixture(params=ZOO if os.environ.get("LINNAEUS_WHOLE_ZOO") else _FEW)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    model = smaller(ZOO[request.param])
    weights = choose(model, "random" if model.bundled is None else "bundled")[1]
    folder = export(model, weights, tmp_path, 1)
    yield Subject(model, eager_classifier(model, weights), load_module(read_artifact(folder), torch.device("cpu")))
    # half a gigabyte of VGG, and pytest would keep the last three runs
    shutil.rmtree(tmp_path)


def spoiled(subject: Subject, picture: Tensor) -> dict[str, Tensor]:
    """Answers to wrong inputs: what the test must be able to see."""
    colours = picture.flip(1) if subject.model.input.channels == 3 else 255 - picture
    # pixels between 0 and 1, which the mean and deviation undo
    mean = torch.tensor(subject.model.mean).view(1, -1, 1, 1)
    deviation = torch.tensor(subject.model.std).view(1, -1, 1, 1)
    raw = torch.softmax(subject.eager.backbone(picture / 255), 1)
    assert not torch.equal(picture / 255, (picture / 255 - mean) / deviation)
    return {"swapped colours": subject.eager(colours), "missing normalisation": raw}


def test_torchscript_and_eager_agree_at_batch_sizes_1_2_and_7(subject: Subject) -> None:
    batch = pictures(subject.model.input, max(BATCHES), seed=11)
    with torch.inference_mode(), without_profiling():
        expected = subject.eager(batch)
        wrong = spoiled(subject, batch[:1])
        answers = {size: subject.script(batch[:size]) for size in BATCHES}
    wrong["a neighbour's picture"] = expected[1:2]
    for mistake, answer in wrong.items():
        seen = float((answer - expected[:1]).abs().max())
        assert seen > 100 * TOLERANCE, f"the test could not see {mistake}: {seen:.2g}"
    for size, answer in answers.items():
        assert answer.shape == (size, subject.model.classes) and answer.dtype == torch.float32
        assert (answer - expected[:size]).abs().max() < TOLERANCE, f"batch size {size}"
        assert torch.equal(answer.argmax(1), expected[:size].argmax(1)), f"batch size {size}"
