"""A real server returns what the eager networks return; the whole zoo before a release, else a few models.

tests/models/export/test_numerical_agreement.py runs all names through the server's loader; this test adds the wire.
"""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import torch
from tests.e2e.forked_server import ForkedServer
from torch import Tensor

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.registry import ZOO
from linnaeus.models.weights.selection import select_weights
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ZooModel
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

_SLOW = {"simple_cnn", "resnet18"}
TOLERANCE = 1e-5
# The largest take half a minute on two quiet cores.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Subject:
    model: ZooModel
    eager: PixelClassifier
    stub: ClassifierServiceStub


def _param(name: str) -> object:
    marks = () if name == "lenet5" else pytest.mark.slow if name in _SLOW else pytest.mark.release
    return pytest.param(name, marks=marks)


@pytest.fixture(params=[_param(name) for name in ZOO])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    model = ZOO[request.param]
    weights = select_weights(model, "random" if model.bundled is None else "bundled")[1]
    export_torchscript(model, weights, tmp_path, 1)
    # requests come one at a time, so larger batches need no warm-up
    with (
        ForkedServer("--repository", str(tmp_path), "--max-batch-size", "1") as process,
        grpc.insecure_channel(process.target) as channel,
    ):
        yield Subject(model, eager_classifier(model, weights), ClassifierServiceStub(channel))
    # VGG takes half a gigabyte, and pytest would keep the last three runs
    shutil.rmtree(tmp_path)


def padded(picture: Tensor, spec: InputSpec) -> v1.RawPixels:
    """Places a picture [C, H, W] on black, so that resizing changes nothing and cropping returns it."""
    down, right = (spec.resize - spec.height) // 2, (spec.resize - spec.width) // 2
    whole = torch.zeros(spec.resize, spec.resize, spec.channels, dtype=torch.uint8)
    whole[down : down + spec.height, right : right + spec.width] = picture.permute(1, 2, 0)
    return v1.RawPixels(data=whole.numpy().tobytes(), height=spec.resize, width=spec.resize, channels=spec.channels)


def served(subject: Subject, picture: Tensor) -> Tensor:
    """Returns the served probabilities [classes] of a picture [C, H, W]."""
    classes = subject.model.classes
    image = v1.Image(pixels=padded(picture, subject.model.input))
    answer = subject.stub.Classify(v1.ClassifyRequest(image=image, top_k=classes), timeout=60)
    probabilities = torch.full((classes,), torch.nan)
    probabilities[[each.index for each in answer.classes]] = torch.tensor([each.probability for each in answer.classes])
    return probabilities


def test_served_probabilities_equal_those_of_the_eager_network(subject: Subject) -> None:
    # drawn from another seed than the calibration's
    batch = synthetic_images(subject.model.input, 2, seed=12)
    with torch.inference_mode():
        expected = subject.eager(batch)
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE, (
        "the two answers are too similar to detect a mix-up"
    )
    for picture, wanted in zip(batch, expected, strict=True):
        given = served(subject, picture)
        assert given.argmax() == wanted.argmax()
        assert (given - wanted).abs().max() < TOLERANCE
