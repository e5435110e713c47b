"""A precision is taken only if it agrees with float32 and is worth it; a real network keeps its answers in bfloat16."""

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy
import pytest
import torch
from torch import Tensor, nn

from linnaeus.server.errors import ModelRefused
from linnaeus.server.runtime.artifact import read_artifact
from linnaeus.server.runtime.calibration import drawn_pictures
from linnaeus.server.runtime.device import without_profiling
from linnaeus.server.runtime.fused_convolutions import FUSED, fuse_convolutions
from linnaeus.server.runtime.model import load_model
from linnaeus.server.runtime.precision import (
    Agreement,
    Probabilities,
    Trial,
    choose_precision,
    compare,
    images_per_second,
    most_confident,
)
from linnaeus.server.runtime.precision_cast import cast_graph
from linnaeus.server.runtime.precision_selection import ComparisonPictures, select_precision
from linnaeus.server.runtime.runner import Pixels
from linnaeus.server.runtime.specialisation import specialise
from linnaeus.server.runtime.weight_layout import reorder_weights

CPU = torch.device("cpu")
PICTURE = numpy.zeros((1, 1, 1), numpy.uint8)
AGREES = Agreement(8, 8, 0.01)
# What the float32 of the choice tests answers; of the second picture it is hardly sure.
PLAIN = [[0.6, 0.4], [0.505, 0.495]]
needs_bfloat16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="hardware: a processor with bfloat16"
)


class FakeModel:
    """A model of which everything is known beforehand; each of its batches moves the clock."""

    def __init__(self, clock: "Clock", seconds: float, answers: Sequence[Probabilities]) -> None:
        self.max_batch_size = 4
        self.clock, self.seconds, self.answers = clock, seconds, answers
        self.warm_ups, self.closed = 0, False

    def probabilities(self, images: Sequence[Pixels]) -> Sequence[Probabilities]:
        return self.answers[: len(images)]

    def run_largest(self) -> None:
        self.clock.now += self.seconds

    def warm(self) -> None:
        self.warm_ups += 1

    def close(self) -> None:
        self.closed = True


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def selected(wanted: str, **others: tuple[float, Sequence[Probabilities]]) -> tuple[str, str, dict[str, FakeModel]]:
    clock = Clock()
    fakes = {name: FakeModel(clock, *of) for name, of in {"float32": (1.0, PLAIN), **others}.items()}
    opens = {name: lambda fake=fake: fake for name, fake in fakes.items()}  # type: ignore[misc]
    chosen = select_precision(wanted, opens, ComparisonPictures([PICTURE] * 2, []), clock)
    assert {name for name, fake in fakes.items() if not fake.closed} == {chosen.precision}
    assert chosen.model is fakes[chosen.precision] and chosen.model.warm_ups == 1
    return chosen.precision, chosen.reason, fakes


def test_auto_takes_the_fastest_that_agrees_and_closes_the_others() -> None:
    alike = [[0.59, 0.41], [0.51, 0.49]]
    precision, reason, _ = selected("auto", bfloat16=(0.5, alike), float16=(0.4, alike))
    assert precision == "float16" and "2.50 times" in reason and "2 of 2 pictures" in reason


@pytest.mark.parametrize(
    ("seconds", "answers", "why"),
    [
        (
            0.1,
            [[0.59, 0.41], [0.495, 0.505]],
            "1 of 2 pictures have the same top-1, probabilities differ by at most 0.0100",
        ),
        (
            0.1,
            [[0.59, 0.41], [0.535, 0.465]],
            "2 of 2 pictures have the same top-1, probabilities differ by at most 0.0300",
        ),
        (0.1, [[0.59, 0.41], [math.nan, 0.4]], "does not agree"),
        (0.96, PLAIN, "1.04 times"),
    ],
    ids=["another first class", "probabilities apart", "no numbers", "hardly faster"],
)
def test_auto_stays_with_float32_and_says_why(seconds: float, answers: Sequence[Probabilities], why: str) -> None:
    precision, reason, _ = selected("auto", bfloat16=(seconds, answers))
    assert precision == "float32" and why in reason


def test_auto_stays_with_float32_where_the_other_cannot_be_run() -> None:
    def refused() -> FakeModel:
        raise ModelRefused("no such instruction")

    plain = FakeModel(Clock(), 1.0, [[0.6, 0.4]])
    chosen = select_precision(
        "auto", {"float32": lambda: plain, "bfloat16": refused}, ComparisonPictures([PICTURE], []), plain.clock
    )
    assert chosen.model is plain and "bfloat16 cannot be run (no such instruction)" in chosen.reason


def test_what_is_asked_for_is_taken_however_slow_and_its_agreement_told() -> None:
    precision, reason, fakes = selected("float16", float16=(9.0, [[0.4, 0.6]] * 2))
    assert precision == "float16" and "0 of 2 pictures" in reason and fakes["float32"].warm_ups == 0


def test_what_is_asked_for_is_refused_where_its_answers_are_no_numbers() -> None:
    with pytest.raises(ModelRefused, match=r"precision float16 gives answers that are no numbers"):
        selected("float16", float16=(0.1, [[math.inf, 0.0]] * 2))


def test_differences_count_over_all_classes_and_pictures() -> None:
    assert compare([[0.5, 0.5], [0.1, 0.9]], [[0.5, 0.5], [0.2, 0.8]]) == Agreement(2, 2, pytest.approx(0.1))


def test_the_surest_pictures_are_those_with_the_largest_lead() -> None:
    assert most_confident([[0.5, 0.5], *[[0.9, 0.1]] * 8, [0.6, 0.4]]) == list(range(1, 9))


def test_speeds_are_taken_in_turns_so_that_a_slow_spell_hurts_nobody() -> None:
    clock = Clock()
    spent = iter([9.0, 9.0] + [1.0, 0.5] * 4)

    def run() -> None:
        clock.now += next(spent)

    assert images_per_second({"a": (2, run), "b": (2, run)}, clock) == {"a": 2.0, "b": 4.0}


def test_nothing_to_try_leaves_float32() -> None:
    assert choose_precision(1.0, []).precision == "float32"
    assert choose_precision(1.0, [Trial("bfloat16", 2.0, AGREES)]).precision == "bfloat16"


class PreActivation(nn.Module):
    """Batch norm and ReLU before a convolution, as in DenseNet; one scale is below zero, one is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(4)
        self.convolution = nn.Conv2d(4, 8, 3, padding=1)
        self.last = nn.Linear(8, 3)
        with torch.no_grad():
            self.norm.weight.copy_(torch.tensor([1.5, -0.7, 0.0, 1e-6]))
            self.norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3, -0.4]))
            self.norm.running_mean.copy_(torch.tensor([0.5, -0.5, 0.1, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(torch.relu(self.norm(images.to(torch.float32) / 255)))
        return torch.softmax(self.last(features.mean((2, 3))).to(torch.float32), 1)


def frozen(network: nn.Module, traced: bool = False) -> torch.jit.ScriptModule:
    images = torch.zeros(1, 4, 9, 9, dtype=torch.uint8)
    network = network.eval()
    return torch.jit.freeze(torch.jit.trace(network, images) if traced else torch.jit.script(network))


def run(module: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode(), without_profiling():
        return module(images)


@pytest.mark.parametrize("traced", [False, True], ids=["scripted", "traced"])
@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-6), ("bfloat16", 5e-3), ("float16", 1e-3)])
def test_a_network_keeps_its_answers_in_any_precision(precision: str, tolerance: float, traced: bool) -> None:
    torch.manual_seed(3)
    network = PreActivation()
    images = torch.randint(0, 256, (3, 4, 9, 9), dtype=torch.uint8)
    module = specialise(frozen(network, traced), CPU, precision, images[:1])
    answers = run(module, images)
    assert answers.dtype == torch.float32
    difference = (answers - run(network, images)).abs().max()
    assert difference <= tolerance
    assert precision == "float32" or difference > 0, "nothing was cast"


class Ending(nn.Module):
    """A convolution, and how a network may go on from there."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.convolution = nn.Conv2d(4, 2, 1)
        self.last = nn.Linear(2, 2)
        with torch.no_grad():
            self.convolution.bias.copy_(torch.tensor([0.3, 0.7]))
            self.last.weight.zero_()
            self.last.bias.copy_(torch.tensor([64.2, 64.0]))  # alike to bfloat16, whose steps are 0.5 there

    def forward(self, images: Tensor) -> Tensor:
        features = self.convolution(images.to(torch.float32) / 255).mean((2, 3))
        if self.kind == "dense layer":
            return torch.softmax(self.last(features), 1)
        return torch.softmax(features, 1) if self.kind == "softmax" else torch.sigmoid(features)


@pytest.mark.parametrize(
    ("kind", "tolerance"), [("dense layer", 1e-6), ("softmax", 2e-3), ("sigmoid", 2e-3)], ids=lambda each: str(each)
)
def test_whatever_a_network_ends_in_is_computed_and_given_in_float32(kind: str, tolerance: float) -> None:
    torch.manual_seed(3)
    network = Ending(kind)
    images = torch.randint(0, 256, (8, 4, 9, 9), dtype=torch.uint8)
    answers = run(specialise(frozen(network, traced=True), CPU, "bfloat16", images[:1]), images)
    assert answers.dtype == torch.float32
    assert (answers - run(network, images)).abs().max() <= tolerance
    assert kind == "sigmoid" or (answers.sum(1) - 1).abs().max() <= 1e-6


def test_a_batch_norm_before_a_convolution_becomes_one() -> None:
    module = fuse_convolutions(frozen(PreActivation()))
    assert len(module.graph.findAllNodes(FUSED)) == 2 and not module.graph.findAllNodes("aten::batch_norm")


def test_weights_get_the_order_that_fits_the_size_of_what_they_are_given() -> None:
    module = fuse_convolutions(frozen(PreActivation()))
    reorder_weights(module, torch.zeros(1, 4, 9, 9, dtype=torch.uint8))
    weights = [list(node.inputs())[1].toIValue() for node in module.graph.findAllNodes(FUSED)]
    assert all(weight.is_mkldnn for weight in weights)


def test_a_graph_with_nothing_to_cast_is_refused() -> None:
    module = frozen(nn.Sequential(nn.Flatten(), nn.ReLU()))
    with pytest.raises(RuntimeError, match=r"no convolution"):
        cast_graph(module.graph, torch.bfloat16)


class Dense(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        return torch.softmax(pixels.flatten(1)[:, :10].to(torch.float32), dim=1)


def replaced(folder: Path, module: torch.jit.ScriptModule) -> None:
    torch.jit.save(module, str(folder / "model.pt"))
    manifest = json.loads((folder / "manifest.json").read_text())
    spec = read_manifest_input(folder)
    image = torch.from_numpy(spec.copy()).permute(2, 0, 1).unsqueeze(0)
    manifest["check"]["probabilities"] = module(image)[0].tolist()
    manifest["sha256"] = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def read_manifest_input(folder: Path) -> Pixels:
    from linnaeus.models.manifest import check_pixels, read_manifest

    manifest = read_manifest(folder)
    spec = manifest.input
    shape = (spec.height, spec.width, spec.channels)
    return numpy.frombuffer(check_pixels(spec, manifest.check.seed), numpy.uint8).reshape(shape)


@pytest.fixture
def folder(repository: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(repository / "lenet" / "1", tmp_path / "lenet" / "1"))


def record(folder: Path, pictures: Sequence[Pixels]) -> None:
    content = b"".join(picture.tobytes() for picture in pictures)
    (folder / "calibration.bin").write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["calibration"] = {"pictures": len(pictures), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_an_explicit_precision_that_cannot_be_had_refuses_the_version_in_one_sentence(folder: Path) -> None:
    replaced(folder, torch.jit.script(Dense()))
    with pytest.raises(ModelRefused, match=r"^model.pt cannot be run in bfloat16: it has no convolution"):
        load_model(folder, CPU, 1, precision="bfloat16")


@needs_bfloat16
def test_auto_on_a_model_that_cannot_be_converted_serves_float32_and_says_why(folder: Path) -> None:
    replaced(folder, torch.jit.script(Dense()))
    made = load_model(folder, CPU, 1, precision="auto").specialisation
    assert made.precision == "float32" and "bfloat16 cannot be run" in made.reason and "no convolution" in made.reason


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_a_served_model_agrees_with_itself_in_float32(precision: str, folder: Path) -> None:
    plain, other = (load_model(folder, CPU, 2, precision=each) for each in ("float32", precision))
    pictures = drawn_pictures(plain.manifest.input)[:8]
    answers = [[model.probabilities([picture])[0] for picture in pictures] for model in (other, plain)]
    assert 0 < compare(*answers).difference < 0.02
    assert (other.specialisation.precision, other.specialisation.memory_format) == (precision, "channels_last")
    assert "drawn pictures" in other.specialisation.reason


def test_recorded_pictures_are_those_that_are_compared(folder: Path) -> None:
    record(folder, drawn_pictures(read_artifact(folder).manifest.input)[:3])
    reason = load_model(folder, CPU, 1, precision="bfloat16").specialisation.reason
    assert "of 3 pictures" in reason and reason.endswith("recorded pictures)")


def test_recorded_pictures_that_were_changed_are_refused(folder: Path) -> None:
    record(folder, drawn_pictures(read_artifact(folder).manifest.input)[:1])
    (folder / "calibration.bin").write_bytes(b"\0" * 784)
    with pytest.raises(ModelRefused, match=r"^calibration.bin is not the one"):
        load_model(folder, CPU, 1, precision="auto")
    (folder / "calibration.bin").unlink()
    with pytest.raises(ModelRefused, match=r"^calibration.bin is missing"):
        load_model(folder, CPU, 1, precision="auto")


def test_a_corrupt_artifact_is_found_whatever_its_precision(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["check"]["probabilities"] = manifest["check"]["probabilities"][::-1]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelRefused, match=r"^model.pt differs"):
        load_model(folder, CPU, 1, precision="bfloat16")


@pytest.mark.gpu
@pytest.mark.gpu
@pytest.mark.parametrize("graphs", [False, True], ids=["launched", "recorded"])
@pytest.mark.parametrize("precision", ["bfloat16", "float16", "auto"])
def test_a_gpu_agrees_with_itself_in_float32(precision: str, graphs: bool, folder: Path) -> None:
    gpu = torch.device("cuda", 0)
    plain, other = (load_model(folder, gpu, 4, cuda_graphs=graphs, precision=each) for each in ("float32", precision))
    try:
        pictures = drawn_pictures(plain.manifest.input)[:4]
        assert compare(other.probabilities(pictures), plain.probabilities(pictures)).holds
    finally:
        plain.close()
        other.close()
