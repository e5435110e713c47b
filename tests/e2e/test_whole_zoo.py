"""A real server gives what the networks give, for one name of each family or, with LINNAEUS_WHOLE_ZOO=1, for all."""

import os
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import torch

from linnaeus.models.export import export
from linnaeus.models.registry import ZOO
from linnaeus.models.torchscript import eager_classifier
from linnaeus.models.weights.choice import choose
from linnaeus.models.weights.pictures import pictures
from linnaeus.models.zoo_model import TrainedWeights, ZooModel
from linnaeus.server.process import ServerProcess
from linnaeus.v1 import classifier_pb2 as v1
from linnaeus.v1.classifier_pb2_grpc import ClassifierServiceStub

_FEW = ("lenet", "lenet5", "mnist_cnn", "simple_cnn", "resnet18", "googlenet", "densenet_bc_100_12", "regnet_x_400mf")
NAMES = tuple(ZOO) if os.environ.get("LINNAEUS_WHOLE_ZOO") else tuple(name for name in _FEW if name in ZOO)


def weights_of(model: ZooModel) -> TrainedWeights:
    return choose(model, "random" if model.bundled is None else "bundled")[1]


@pytest.fixture(scope="module", params=NAMES)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ZooModel, ClassifierServiceStub]]:
    model = ZOO[request.param]
    repository: Path = tmp_path_factory.mktemp("zoo")
    export(model, weights_of(model), repository, 1)
    with (
        ServerProcess("--repository", str(repository), "--max-batch-size", "4") as process,
        grpc.insecure_channel(process.target) as channel,
    ):
        yield model, ClassifierServiceStub(channel)


def test_served_probabilities_are_the_networks(served: tuple[ZooModel, ClassifierServiceStub]) -> None:
    model, stub = served
    # drawn from another seed than the calibration's
    batch = pictures(model.input, 2, seed=12)
    spec = model.input
    # the middle of a picture whose shorter side is `resize` is cut out unchanged
    eager = eager_classifier(model, weights_of(model))
    down, right = (spec.resize - spec.height) // 2, (spec.resize - spec.width) // 2
    whole = torch.zeros(2, spec.channels, spec.resize, spec.resize, dtype=torch.uint8)
    whole[:, :, down : down + spec.height, right : right + spec.width] = batch
    with torch.inference_mode():
        expected = eager(batch)
    for picture, wanted in zip(whole, expected, strict=True):
        raw = v1.RawPixels(
            data=picture.permute(1, 2, 0).contiguous().numpy().tobytes(),
            height=spec.resize,
            width=spec.resize,
            channels=spec.channels,
        )
        answer = stub.Classify(v1.ClassifyRequest(image=v1.Image(pixels=raw), top_k=model.classes), timeout=60)
        given = torch.zeros(model.classes)
        given[[each.index for each in answer.classes]] = torch.tensor([each.probability for each in answer.classes])
        assert answer.classes[0].index == int(wanted.argmax())
        assert (given - wanted).abs().max() < 1e-5
    assert (expected[0] - expected[1]).abs().max() > 1e-3, "the test could not see a neighbour's picture"
