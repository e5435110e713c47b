"""A user's own ONNX classifier becomes a version whose file takes pixels and gives the network's own probabilities."""

from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
import torch
from tests.models.own_model import tiny_networks as networks
from tests.models.own_model.onnx_files import (
    CHANNELS_LAST,
    PIXELS,
    ChannelsLast,
    FromPixels,
    OnePixel,
    PixelsLast,
    Reshaped,
    as_newer_exporter,
    built,
    export,
)
from tests.models.own_model.tiny_networks import Tiny
from torch import Tensor, nn

from linnaeus.models.activation import Activation
from linnaeus.models.export.own_model_import import ModelMetadata, import_model
from linnaeus.models.export.version_folder import check_input
from linnaeus.models.manifest import InputSpec, read_labels, read_manifest
from linnaeus.models.own_model.onnx_packages import import_onnxruntime
from linnaeus.models.pixel_classifier import normalize

SPEC = InputSpec(channels=3, height=8, width=8, resize=9, interpolation="bicubic")
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
OWN = ModelMetadata("mine", SPEC, MEAN, STD, ("a", "b", "c"))
BY_ITSELF = replace(OWN, mean=None, std=None)


@dataclass(frozen=True)
class Case:
    """A network, an input to trace it with, and what the user says."""

    network: nn.Module
    example: Tensor | None = None
    variable_batch: bool = True
    metadata: ModelMetadata = OWN
    tolerance: float = 1e-5


CASES = {
    "float32": Case(Tiny()),
    "channels last": Case(ChannelsLast(), CHANNELS_LAST),
    "pixels": Case(FromPixels(), PIXELS, metadata=BY_ITSELF),
    "pixels, channels last": Case(PixelsLast(), PIXELS.permute(0, 2, 3, 1), metadata=BY_ITSELF),
    "float16": Case(Tiny().half(), torch.zeros(1, 3, 8, 8).half(), tolerance=1e-2),
    "a batch of one": Case(Tiny(), variable_batch=False),
    "a batch of two": Case(Tiny(), torch.zeros(2, 3, 8, 8), variable_batch=False),
    "a batch of one in a reshape": Case(Reshaped(), variable_batch=False),
    "a map of one pixel": Case(OnePixel()),
    "sigmoid": Case(Tiny(), metadata=replace(OWN, activation=Activation.SIGMOID)),
    "probabilities": Case(networks.Softmaxed(), metadata=replace(OWN, activation=Activation.NONE)),
}


def own_probabilities(case: Case, pixels: Tensor) -> Tensor:
    """What the network gives in PyTorch, picture by picture."""
    takes_pixels = case.example is not None and case.example.dtype == torch.uint8
    images = pixels if takes_pixels else normalize(pixels, MEAN, STD)
    ordered = images.permute(0, 2, 3, 1) if isinstance(case.network, ChannelsLast | PixelsLast) else images
    dtype = torch.float32 if case.example is None else case.example.dtype
    with torch.inference_mode():
        outputs = torch.cat([case.network.eval()(each[None].to(dtype)).flatten(1).float() for each in ordered])
    activation = case.metadata.activation
    if activation is Activation.NONE:
        return outputs
    return outputs.sigmoid() if activation is Activation.SIGMOID else outputs.softmax(1)


def outputs(folder: Path, pixels: Tensor) -> list[Tensor]:
    session = import_onnxruntime().InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: pixels.numpy()})
    return [torch.from_numpy(each) for each in found]


def run(folder: Path, pixels: Tensor) -> Tensor:
    (probabilities,) = outputs(folder, pixels)
    return probabilities


@pytest.mark.parametrize("name", CASES)
def test_the_stored_file_gives_the_networks_own_probabilities(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    path = export(case.network, tmp_path / "mine.onnx", case.example, case.variable_batch)
    folder = import_model(path, case.metadata, tmp_path / "repository", 4)
    assert sorted(each.name for each in folder.iterdir()) == ["labels.txt", "manifest.json", "model.onnx"]
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version, manifest.input, manifest.model_format) == ("mine", 4, SPEC, "onnx")
    assert manifest.weights.source == "imported from mine.onnx" and manifest.parameters > 400
    assert read_labels(folder, 3) == ("a", "b", "c")
    for count in (1, 2, 7):
        pixels = torch.cat([check_input(SPEC, str(place)) for place in range(count)])
        answered, expected = run(folder, pixels), own_probabilities(case, pixels)
        assert answered.dtype == torch.float32 and answered.shape == (count, 3)
        assert (answered - expected).abs().max() <= case.tolerance
        assert (run(folder, 255 - pixels) - expected).abs().max() > 5e-2, "the test could not detect a wrong input"
    recorded = torch.tensor(manifest.check.probabilities)
    assert (recorded - own_probabilities(case, check_input(SPEC))[0]).abs().max() <= case.tolerance


def test_weights_in_a_file_beside_it_come_along(tmp_path: Path) -> None:
    model = onnx.load(str(export(Tiny(), tmp_path / "whole.onnx")))
    onnx.save(model, str(tmp_path / "mine.onnx"), save_as_external_data=True, location="weights", size_threshold=0)
    folder = import_model(tmp_path / "mine.onnx", OWN, tmp_path / "repository", 1)
    (tmp_path / "weights").unlink()
    pixels = check_input(SPEC)
    assert (run(folder, pixels) - own_probabilities(CASES["float32"], pixels)).abs().max() <= 1e-5
    with pytest.raises(ValueError, match=r"mine.onnx .*cannot be read.*weights"):
        import_model(tmp_path / "mine.onnx", OWN, tmp_path / "repository", 2)


def test_a_file_of_the_newer_exporter_for_one_picture_is_served_in_batches(tmp_path: Path) -> None:
    path = as_newer_exporter(export(Reshaped(), tmp_path / "mine.onnx", variable_batch=False))
    folder = import_model(path, OWN, tmp_path / "repository", 1)
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(7)])
    expected = own_probabilities(CASES["a batch of one in a reshape"], pixels)
    assert (run(folder, pixels) - expected).abs().max() <= 1e-5


class Measured(Tiny):
    """Gives the features beside the logits."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers[:4](images)
        return self.layers[4](features), features


def last_layer(path: Path) -> onnx.NodeProto:
    return next(node for node in reversed(onnx.load(str(path)).graph.node) if node.op_type == "Gemm")


def name_of(what: str, path: Path) -> str:
    """Names the features of a file that torch exported."""
    if what == "output":
        return str(onnx.load(str(path)).graph.output[1].name)
    tensor = last_layer(path).input[0]
    return tensor if what == "tensor" else next(n.name for n in onnx.load(str(path)).graph.node if tensor in n.output)


@pytest.mark.parametrize(
    ("network", "what", "variable_batch"),
    [
        (Tiny(), "tensor", True),
        (Tiny(), "node", True),
        (Tiny(), "tensor", False),
        (Reshaped(), "tensor", False),
        (Measured(), "output", False),
        (Tiny().half(), "tensor", True),
    ],
)
def test_the_named_tensor_is_stored_as_a_second_output_the_features(
    tmp_path: Path, network: nn.Module, what: str, variable_batch: bool
) -> None:
    half = next(network.parameters()).dtype == torch.float16
    example = torch.zeros(1, 3, 8, 8).half() if half else None
    path = export(network, tmp_path / "mine.onnx", example, variable_batch)
    metadata = replace(OWN, features=name_of(what, path))
    folder = import_model(path, metadata, tmp_path / "repository", 1)
    assert read_manifest(folder).features == 144
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(7)])
    probabilities, features = outputs(folder, pixels)
    reference = Tiny().eval()
    with torch.inference_mode():
        images = normalize(pixels, MEAN, STD)
        expected = reference.layers[:4](images)
        logits = reference.layers[4](expected) * (1 if isinstance(network, Measured | Reshaped) else 3)
    assert features.dtype == torch.float32 and features.shape == (7, 144)
    tolerance = 2e-2 if half else 1e-5
    assert torch.allclose(features, expected, rtol=tolerance, atol=tolerance)
    assert not torch.allclose(features, expected.flip(0), rtol=0.1, atol=0.1)
    assert torch.allclose(probabilities, logits.softmax(1), atol=tolerance)


def test_features_of_one_pixel_are_flattened(tmp_path: Path) -> None:
    metadata = replace(OWN, features="pooled")
    folder = import_model(built(tmp_path / "mine.onnx"), metadata, tmp_path / "repository", 1)
    pixels = check_input(SPEC)
    (_, features) = outputs(folder, pixels)
    assert features.shape == (1, 3) and read_manifest(folder).features == 3
    assert torch.allclose(features, normalize(pixels, MEAN, STD).mean((2, 3)), atol=1e-5)


@pytest.mark.parametrize("name", ["images", "scale", "shift", "cast", "probabilities", "flatten"])
def test_no_name_of_a_tensor_in_the_graph_is_taken_twice(tmp_path: Path, name: str) -> None:
    nodes = [
        onnx.helper.make_node("GlobalAveragePool", ["images"], ["pooled" if name == "images" else name]),
        onnx.helper.make_node("Flatten", ["pooled" if name == "images" else name], ["logits"], axis=1),
    ]
    folder = import_model(built(tmp_path / "mine.onnx", nodes=nodes), OWN, tmp_path / "repository", 1)
    pixels = check_input(SPEC)
    expected = normalize(pixels, MEAN, STD).mean((2, 3)).softmax(1)
    assert (run(folder, pixels) - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("metadata", "example", "message"),
    [
        (replace(OWN, std=None), None, "--std must be given: say what it was trained with"),
        (BY_ITSELF, None, "--mean and --std must be given"),
        (OWN, PIXELS, r"takes uint8 pixels, and so normalizes them itself; leave --mean and --std out"),
    ],
)
def test_normalization_is_said_exactly_for_networks_without_it(
    tmp_path: Path, metadata: ModelMetadata, example: Tensor | None, message: str
) -> None:
    path = export(Tiny() if example is None else FromPixels(), tmp_path / "mine.onnx", example)
    with pytest.raises(ValueError, match=message):
        import_model(path, metadata, tmp_path / "repository", 1)
    assert not (tmp_path / "repository").exists()
