"""A real server gives what the networks give, for a few names or, with LINNAEUS_WHOLE_ZOO=1, for all.

tests/models/export/test_numerical_agreement.py runs all names through the server's loader; this test adds the wire.
"""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import torch
from torch import Tensor

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import PixelClassifier, eager_classifier
from linnaeus.models.registry import ZOO
from linnaeus.models.weights.selection import select_weights
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ZooModel
from linnaeus.server.rpc.child_server import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

_FEW = ("lenet5", "simple_cnn", "resnet18", "regnet_x_400mf")
NAMES = ZOO if os.environ.get("LINNAEUS_WHOLE_ZOO") else _FEW
TOLERANCE = 1e-5
# The largest take half a minute on two quiet cores.
pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True)
class Subject:
    model: ZooModel
    eager: PixelClassifier
    stub: ClassifierServiceStub


@pytest.fixture(params=NAMES)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    model = ZOO[request.param]
    weights = select_weights(model, "random" if model.bundled is None else "bundled")[1]
    export_torchscript(model, weights, tmp_path, 1)
    # requests come one at a time: larger batches would be warmed up for nothing
    with (
        ServerProcess("--repository", str(tmp_path), "--max-batch-size", "1") as process,
        grpc.insecure_channel(process.target) as channel,
    ):
        yield Subject(model, eager_classifier(model, weights), ClassifierServiceStub(channel))
    # half a gigabyte of VGG, and pytest would keep the last three runs
    shutil.rmtree(tmp_path)


def framed(picture: Tensor, spec: InputSpec) -> v1.RawPixels:
    """A picture [C, H, W] amid black, such that resizing does nothing and cropping gives it back."""
    down, right = (spec.resize - spec.height) // 2, (spec.resize - spec.width) // 2
    whole = torch.zeros(spec.resize, spec.resize, spec.channels, dtype=torch.uint8)
    whole[down : down + spec.height, right : right + spec.width] = picture.permute(1, 2, 0)
    return v1.RawPixels(data=whole.numpy().tobytes(), height=spec.resize, width=spec.resize, channels=spec.channels)


def served(subject: Subject, picture: Tensor) -> Tensor:
    """The probabilities [classes] that come over the wire for a picture [C, H, W]."""
    classes = subject.model.classes
    image = v1.Image(pixels=framed(picture, subject.model.input))
    answer = subject.stub.Classify(v1.ClassifyRequest(image=image, top_k=classes), timeout=60)
    probabilities = torch.full((classes,), torch.nan)
    probabilities[[each.index for each in answer.classes]] = torch.tensor([each.probability for each in answer.classes])
    return probabilities


def test_served_probabilities_are_the_networks(subject: Subject) -> None:
    # drawn from another seed than the calibration's
    batch = synthetic_images(subject.model.input, 2, seed=12)
    with torch.inference_mode():
        expected = subject.eager(batch)
    assert (expected[0] - expected[1]).abs().max() > 100 * TOLERANCE, "the test could not see a neighbour's picture"
    for picture, wanted in zip(batch, expected, strict=True):
        given = served(subject, picture)
        assert given.argmax() == wanted.argmax()
        assert (given - wanted).abs().max() < TOLERANCE
