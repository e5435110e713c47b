"""A real server serves ONNX files that were imported, and answers as the networks do from which they were exported."""

import json
import shutil
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy
import pytest
import torch
from tests.e2e.forked_server import ForkedServer
from tests.models.own_model.onnx_files import PIXELS, ChannelsLast, FromPixels, export
from tests.models.own_model.tiny_networks import Tiny
from torch import nn

from linnaeus.client import Client
from linnaeus.models.export.own_model_import import ModelMetadata, import_model
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import normalize

SPEC = InputSpec(channels=3, height=8, width=8, resize=8, interpolation="bilinear")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
LABELS = ("a", "b", "c")
NETWORKS: dict[str, nn.Module] = {"float": Tiny(), "last": ChannelsLast(), "pixels": FromPixels()}
IMAGES = numpy.random.default_rng(5).integers(0, 256, (7, 8, 8, 3), numpy.uint8)
TOLERANCE = 1e-4
FLATTENED = "/layers/layers.3/Flatten"  # the node before the last layer of Tiny


def expected(name: str) -> numpy.ndarray:
    """The network's own probabilities for each image."""
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2)
    images = pixels if name == "pixels" else normalize(pixels, MEAN, STD)
    with torch.inference_mode():
        outputs = NETWORKS[name].eval()(images.permute(0, 2, 3, 1) if name == "last" else images)
    return outputs.softmax(1).numpy()


def add(name: str, repository: Path, folder: Path, features: str | None = None) -> Path:
    example = {"last": torch.zeros(1, 8, 8, 3), "pixels": PIXELS}.get(name)
    path = export(NETWORKS[name], folder / f"{name}.onnx", example)
    given = (None, None) if name == "pixels" else (MEAN, STD)
    return import_model(path, ModelMetadata(name, SPEC, *given, LABELS, features=features), repository, 1)


@pytest.fixture(scope="module")
def repository_of_onnx(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("onnx")
    add("float", root / "repository", root, FLATTENED)
    add("last", root / "repository", root)
    return root / "repository"


@pytest.fixture(scope="module", params=["auto", "onnxruntime", "openvino"])
def server(
    request: pytest.FixtureRequest, repository_of_onnx: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path, Client]]:
    root = Path(shutil.copytree(repository_of_onnx, tmp_path_factory.mktemp("served") / "repository"))
    with (
        ForkedServer("--repository", str(root), "--runtime", request.param, "--watch-seconds", "0.2") as process,
        Client(process.target) as client,
    ):
        yield request.param, root, client


def probabilities(client: Client, name: str) -> numpy.ndarray:
    results = [client.classify(image, model=name, top_k=3) for image in IMAGES]
    return numpy.array(
        [[each.probability for each in sorted(result.classes, key=lambda each: each.index)] for result in results]
    )


def test_the_answers_are_those_of_the_networks(server: tuple[str, Path, Client], tmp_path: Path) -> None:
    runtime, root, client = server
    for name in ("float", "last"):
        assert numpy.abs(probabilities(client, name) - expected(name)).max() <= TOLERANCE
        assert numpy.abs(probabilities(client, name)[::-1] - expected(name)).max() > 0.05
        (made,) = client.model(name).specialisations
        assert made.runtime == runtime or (runtime == "auto" and made.runtime in ("onnxruntime", "openvino"))


def test_the_features_of_a_named_node_are_those_of_torch(server: tuple[str, Path, Client]) -> None:
    _, _, client = server
    images = normalize(torch.from_numpy(IMAGES).permute(0, 3, 1, 2), MEAN, STD)
    with torch.inference_mode():
        wanted = NETWORKS["float"].eval().layers[:4](images).numpy()
    alone = [client.classify(image, model="float", features=True).features for image in IMAGES]
    together = [each.unwrap().features for each in client.classify_batch(list(IMAGES), model="float", features=True)]
    for features in (alone, together):
        assert numpy.allclose(features, wanted, rtol=TOLERANCE, atol=TOLERANCE)
    assert not numpy.allclose(alone[0], wanted[1], rtol=0.1, atol=0.1)
    assert [client.model(name).feature_count for name in ("float", "last")] == [144, 0]


def test_a_file_that_is_added_is_served_and_a_damaged_one_refused(
    server: tuple[str, Path, Client], tmp_path: Path
) -> None:
    _, root, client = server
    written = add("pixels", tmp_path / "repository", tmp_path)
    shutil.copytree(written.parent, root / ".pixels")
    (root / ".pixels").rename(root / "pixels")
    until(lambda: any(each.name == "pixels" and each.state == "ready" for each in client.models()))
    assert numpy.abs(probabilities(client, "pixels") - expected("pixels")).max() <= TOLERANCE
    shutil.copytree(written, root / "pixels" / ".2")
    spoil(root / "pixels" / ".2")
    (root / "pixels" / ".2").rename(root / "pixels" / "2")
    until(lambda: any(each.name == "pixels" and each.version == 2 for each in client.models()))
    until(lambda: client.model("pixels", 2).state == "failed")
    assert "model.onnx cannot be" in client.model("pixels", 2).state_reason
    assert numpy.abs(probabilities(client, "pixels") - expected("pixels")).max() <= TOLERANCE


def until(is_so: Callable[[], bool]) -> None:
    """Asks until the server has noticed a change of the repository."""
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends, "the server has not noticed it"


def spoil(folder: Path) -> None:
    """Cuts the file in half, with a digest that matches."""
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    fields = json.loads((folder / "manifest.json").read_text())
    fields |= {"version": 2, "sha256": sha256(content[: len(content) // 2]).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(fields))
