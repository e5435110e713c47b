"""ONNX files compute what the TorchScript computes."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from linnaeus.models.activation import Activation
from linnaeus.models.export import onnx
from linnaeus.models.export.model_metadata import ModelMetadata
from linnaeus.models.export.onnx import export_onnx
from linnaeus.models.export.onnx_import import import_onnx_file
from linnaeus.models.manifest import InputSpec, read_manifest
from linnaeus.models.pixel_classifier import eager_classifier
from linnaeus.models.registry import find
from linnaeus.models.zoo_model import ModelWeights, ZooModel

runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
LABELS = ("ant", "bee", "cicada")
FOUR_LABELS = ("cat", "猫", "dog", "犬")


class AnySize(nn.Module):
    """A convolution and global average pooling."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.classifier = nn.Linear(4, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.convolution(images)))
        return self.classifier(functional.adaptive_avg_pool2d(maps, 1).flatten(1))


class HiddenPooling(AnySize):
    """Accepts any size, which ONNX cannot express: it pools to 2x2."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.classifier = nn.Linear(16, classes)

    def forward(self, images: Tensor) -> Tensor:
        maps = functional.relu(self.norm(self.convolution(images)))
        return self.classifier(functional.adaptive_avg_pool2d(maps, 2).flatten(1))


def zoo_model(build: type[nn.Module]) -> ZooModel:
    return ZooModel(
        name="insects",
        family="Small",
        year=2026,
        build=build,
        input=InputSpec(channels=3, height=16, width=16, resize=20, interpolation="bilinear"),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.1),
        labels=lambda: LABELS,
    )


def random_weights(model: ZooModel, classes: int | None = None) -> ModelWeights:
    torch.manual_seed(7)
    return ModelWeights(model.build(classes or model.classes).state_dict(), "random", 7)


def noise(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def run_onnx(path: Path, pixels: Tensor) -> Tensor:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["probabilities"], {"images": pixels.numpy()})[0])


def shapes(path: Path) -> dict[str, tuple[str, list[str | int]]]:
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return {entry.name: (entry.type, entry.shape) for entry in (*session.get_inputs(), *session.get_outputs())}


@pytest.fixture(scope="module")
def any_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = zoo_model(AnySize)
    target = tmp_path_factory.mktemp("onnx") / "deep" / "insects.onnx"
    return export_onnx(model, random_weights(model, 4), target, FOUR_LABELS)


def test_batch_height_and_width_are_dynamic_and_input_and_output_agree_on_the_batch(any_size: Path) -> None:
    assert shapes(any_size) == {
        "images": ("tensor(uint8)", ["batch", 3, "height", "width"]),
        "probabilities": ("tensor(float)", ["batch", 4]),
    }
    model = zoo_model(AnySize)
    eager = eager_classifier(model, random_weights(model, 4), 4)
    for shape in ((1, 3, 16, 16), (2, 3, 16, 16), (7, 3, 16, 16), (3, 3, 25, 40)):
        with torch.inference_mode():
            assert torch.allclose(run_onnx(any_size, noise(*shape)), eager(noise(*shape)), atol=1e-5)


def test_lenet_onnx_equals_the_network_with_dynamic_batch_and_constant_size(tmp_path: Path) -> None:
    model = find("lenet")
    path = export_onnx(model, model.bundled_weights(), tmp_path / "lenet.onnx")
    assert shapes(path)["images"] == ("tensor(uint8)", ["batch", 1, 28, 28])
    assert shapes(path)["probabilities"] == ("tensor(float)", ["batch", 10])
    with torch.inference_mode():
        expected = eager_classifier(model, model.bundled_weights())(noise(5, 1, 28, 28))
    assert torch.allclose(run_onnx(path, noise(5, 1, 28, 28)), expected, atol=1e-5)


@pytest.mark.parametrize(("build", "size"), [(AnySize, 4), (HiddenPooling, 16)])
def test_features_are_a_second_output_also_after_an_import(tmp_path: Path, build: type[nn.Module], size: int) -> None:
    model = zoo_model(build)
    path = export_onnx(model, random_weights(model), tmp_path / "insects.onnx", features=True)
    assert [name for name in shapes(path)] == ["images", "probabilities", "features"]
    session, pixels = runtime.InferenceSession(path), noise(5, 3, 16, 16)
    probabilities, features = map(torch.from_numpy, session.run(None, {"images": pixels.numpy()}))
    eager = eager_classifier(model, random_weights(model))
    with torch.inference_mode():
        assert torch.allclose(probabilities, eager(pixels), atol=1e-5)
        assert torch.allclose(eager.backbone.classifier(features).softmax(1), probabilities, atol=1e-5)
    metadata = ModelMetadata("mine", model.input, None, None, LABELS, activation=Activation.NONE, features="features")
    assert read_manifest(import_onnx_file(path, metadata, tmp_path / "repository", 1)).features == size


def test_a_size_that_onnx_cannot_express_as_dynamic_is_constant(tmp_path: Path) -> None:
    model = zoo_model(HiddenPooling)
    path = export_onnx(model, random_weights(model), tmp_path / "insects.onnx")
    assert shapes(path)["images"][1] == ["batch", 3, 16, 16]
    assert run_onnx(path, noise(4, 3, 16, 16)).sum(1) == pytest.approx(1)


def test_the_onnx_metadata_has_name_labels_input_and_weights(any_size: Path) -> None:
    metadata = runtime.InferenceSession(any_size).get_modelmeta().custom_metadata_map
    assert metadata["name"] == "insects"
    assert tuple(json.loads(metadata["labels"])) == FOUR_LABELS
    assert json.loads(metadata["weights"]) == {"source": "random", "seed": 7}
    assert InputSpec(**json.loads(metadata["input"])) == zoo_model(AnySize).input


def test_the_onnx_file_contains_no_local_path(any_size: Path) -> None:
    for path in (Path(torch.__file__), Path(__file__)):
        assert str(path.parent).encode() not in any_size.read_bytes()


def test_an_onnx_file_that_differs_from_the_torchscript_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = onnx.torch.onnx.export

    def write_another(network: torch.jit.ScriptModule, *arguments: object, **options: object) -> None:
        network.shift.add_(0.01)
        write(network, *arguments, **options)
        network.shift.sub_(0.01)

    monkeypatch.setattr(onnx.torch.onnx, "export", write_another)
    model = zoo_model(AnySize)
    target = tmp_path / "insects.onnx"
    target.write_text("the one before")
    with pytest.raises(RuntimeError, match="insects cannot be exported to ONNX: onnxruntime differs"):
        export_onnx(model, random_weights(model), target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["insects.onnx"]
    assert target.read_text() == "the one before"


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_its_packages_the_error_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    model = zoo_model(AnySize)
    with pytest.raises(RuntimeError, match=r"pip install 'linnaeus\[onnx\]'"):
        export_onnx(model, random_weights(model), tmp_path / "insects.onnx")
    assert not list(tmp_path.iterdir())
