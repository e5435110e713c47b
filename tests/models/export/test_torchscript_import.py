"""A user's own TorchScript classifier is imported, or refused in one sentence."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy
import pytest
import torch
import typer
from torch import Tensor, nn
from typer.testing import CliRunner

from linnaeus.models.activation import Activation
from linnaeus.models.cli.import_model import import_
from linnaeus.models.export.model_metadata import ModelMetadata
from linnaeus.models.export.torchscript_import import import_torchscript
from linnaeus.models.export.version_folder import check_input
from linnaeus.models.manifest import InputSpec, read_labels, read_manifest
from linnaeus.models.pixel_classifier import normalize
from linnaeus.server.runtime.artifact_checks import load_module, read_artifact
from linnaeus.server.runtime.model_loading import load_model

SPEC = InputSpec(channels=3, height=8, width=6, resize=9, interpolation="bicubic")
OWN = ModelMetadata("mine", SPEC, (0.5, 0.4, 0.3), (0.2, 0.3, 0.4), ("a", "b", "c"))


class Good(nn.Module):
    """A classifier of three classes, with batch norm, so that a missing `eval()` is detected."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(96, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


class Pair(Good):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(images), images


class Column(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).unsqueeze(2)


class Infinite(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) / 0.0


class Probabilities(Good):
    def forward(self, images: Tensor) -> Tensor:
        return torch.softmax(self.layers(images), 1)


class Scores(Good):
    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.layers(images))


class Forgetful(Good):
    def forward(self, images: Tensor) -> Tensor:
        return torch.dropout(self.layers(images), 0.5, True)


class OneByOne(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.reshape(1, 3, 8, 6))


class Neighbours(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images - images.mean(0, keepdim=True))


class OnTheProcessor(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.to("cpu"))


class OnMeta(Good):
    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images.to("meta"))


class InHalf(Good):
    """Once it is traced, the graph has numbers in half precision besides the weights."""

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images) @ torch.eye(3, dtype=images.dtype)


def scripted(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.script(network)


def traced(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network.eval(), torch.zeros(1, 3, 8, 6))


def frozen(network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.freeze(traced(network))


def traced_in(precision: torch.dtype, network: nn.Module) -> torch.jit.ScriptModule:
    return torch.jit.trace(network.to(precision).eval(), torch.zeros(1, 3, 8, 6, dtype=precision))


def channels_last(network: nn.Module) -> torch.jit.ScriptModule:
    example = torch.zeros(1, 3, 8, 6).to(memory_format=torch.channels_last)
    return torch.jit.trace(network.to(memory_format=torch.channels_last).eval(), example)


@pytest.mark.parametrize("compile", [scripted, traced, channels_last])
def test_the_server_gives_the_networks_own_probabilities(
    tmp_path: Path, compile: Callable[[nn.Module], torch.jit.ScriptModule]
) -> None:
    compile(Good()).save(str(tmp_path / "model.pt"))
    folder = import_torchscript(tmp_path / "model.pt", OWN, tmp_path / "repository", 4)
    assert folder == tmp_path / "repository" / "mine" / "4"
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.version, manifest.input, manifest.classes) == ("mine", 4, SPEC, 3)
    assert (manifest.architecture, manifest.weights.source) == ("Good", "imported from model.pt")
    assert manifest.weights.trained and manifest.parameters == sum(each.numel() for each in Good().parameters())
    assert read_labels(folder, 3) == ("a", "b", "c")
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(7)])
    served = load_module(read_artifact(folder), torch.device("cpu"))
    with torch.inference_mode():
        expected = Good().eval()(normalize(pixels, OWN.mean, OWN.std)).softmax(1)
        assert torch.allclose(served(pixels), expected, atol=1e-6)
        assert (served(255 - pixels) - expected).abs().max() > 1e-3, "the test could not detect a wrong input"


HALVES = (torch.float16, torch.bfloat16)
OTHER_FORMS: dict[str, tuple[Callable[[], torch.jit.ScriptModule], nn.Module, torch.dtype, float]] = {
    "frozen": (lambda: frozen(Good()), Good(), torch.float32, 1e-6),
    "names the CPU": (lambda: traced(OnTheProcessor()), Good(), torch.float32, 1e-6),
    **{f"scripted {each}": (lambda each=each: scripted(Good().to(each)), Good(), each, 1e-6) for each in HALVES},
    **{f"traced {each}": (lambda each=each: traced_in(each, Good()), Good(), each, 1e-6) for each in HALVES},
    # computed in half precision, and rounded as it rounds
    **{
        f"frozen {each}": (lambda each=each: torch.jit.freeze(traced_in(each, InHalf())), InHalf(), each, 0.02)
        for each in HALVES
    },
}


@pytest.mark.parametrize("form", OTHER_FORMS)
def test_every_form_of_a_network_is_served_with_the_networks_probabilities(tmp_path: Path, form: str) -> None:
    """Weights in half precision are served in float32: the answers are those of a float32 network of these weights."""
    make, network, precision, tolerance = OTHER_FORMS[form]
    make().save(str(tmp_path / "model.pt"))
    folder = import_torchscript(tmp_path / "model.pt", OWN, tmp_path / "repository", 1)
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(7)])
    served = load_module(read_artifact(folder), torch.device("cpu"))
    with torch.inference_mode():
        rounded = network.to(precision).to(torch.float32).eval()
        expected = rounded(normalize(pixels, OWN.mean, OWN.std)).softmax(1)
        assert (served(pixels) - expected).abs().max() <= tolerance
        assert (served(255 - pixels) - expected).abs().max() > 2 * tolerance, "the test could not detect a wrong input"
    assert read_manifest(folder).check.tolerance == (0.02 if tolerance == 0.02 else 1e-3)
    assert read_manifest(folder).parameters > 0


@pytest.mark.gpu
def test_the_weights_of_a_frozen_model_move_to_the_device_that_it_is_loaded_on(tmp_path: Path) -> None:
    frozen(Good()).save(str(tmp_path / "model.pt"))
    artifact = read_artifact(import_torchscript(tmp_path / "model.pt", OWN, tmp_path / "repository", 1))
    device = torch.device("cuda", 0)
    assert load_module(artifact, device)(check_input(SPEC).to(device)).device == device


@dataclass(frozen=True)
class Refusal:
    network: nn.Module
    message: str
    compile: Callable[[nn.Module], torch.jit.ScriptModule] = scripted


@pytest.mark.parametrize(
    "case",
    [
        Refusal(Pair(), "gives a tuple of 2, but must give one tensor of logits; put it into a module whose forward"),
        Refusal(Column(), r"gives the shape \[1, 3, 1\] for 1 picture, but must give \[1, classes\]; return one row"),
        Refusal(Good(5), "tells 5 classes apart, but there are 3 labels"),
        Refusal(Infinite(), "not finite"),
        Refusal(
            Probabilities(), "gives probabilities, .* a softmax would make something else of them; say --activation"
        ),
        Refusal(Scores(), r"gives independent scores \(sigmoid\), .* say --activation none"),
        Refusal(Good(1), "gives a single number for a picture, and the softmax of one number is always 100 %"),
        Refusal(Forgetful(), "answers differently when it is asked again: dropout is still on; call .eval"),
        Refusal(OneByOne(), "fails for a batch of 3 pictures of 3x8x6, .* it takes one picture only"),
        Refusal(Neighbours(), "answers differently when another picture is in the batch; call .eval"),
        Refusal(OnMeta(), "fails for a batch of 1 picture .* names the device 'meta': trace it on a CPU"),
    ],
    ids=lambda case: type(case.network).__name__,
)
def test_a_model_that_is_not_a_classifier_is_refused_in_one_sentence(tmp_path: Path, case: Refusal) -> None:
    case.compile(case.network).save(str(tmp_path / "model.pt"))
    with pytest.raises(ValueError, match=case.message) as caught:
        import_torchscript(tmp_path / "model.pt", OWN, tmp_path / "repository", 1)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "repository").exists()


class Named(NamedTuple):
    logits: Tensor
    flat: Tensor
    pooled: Tensor


class WithFeatures(Good):
    """Gives its last layer's inputs as third output, by name or not."""

    def forward(self, images: Tensor) -> Named:
        flat = self.layers[2](self.layers[1](self.layers[0](images)))
        return Named(self.layers[3](flat), images, flat)


class Unnamed(WithFeatures):
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        flat = self.layers[2](self.layers[1](self.layers[0](images)))
        return self.layers[3](flat), images, flat


@pytest.mark.parametrize(
    ("network", "node", "compile"),
    [(WithFeatures(), "pooled", scripted), (WithFeatures(), "2", scripted), (Unnamed(), "2", scripted)]
    + [(WithFeatures(), "2", traced), (Unnamed(), "2", traced)],  # tracing forgets the names of a NamedTuple
)
@pytest.mark.parametrize("activation", [None, Activation.SIGMOID])
def test_the_named_output_of_a_tuple_is_served_as_features(
    tmp_path: Path,
    network: nn.Module,
    node: str,
    activation: Activation | None,
    compile: Callable[[nn.Module], torch.jit.ScriptModule],
) -> None:
    compile(network).save(str(tmp_path / "model.pt"))
    metadata = replace(OWN, features=node, activation=activation)
    folder = import_torchscript(tmp_path / "model.pt", metadata, tmp_path / "repository", 1)
    assert read_manifest(folder).features == 96
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(5)])
    model = load_model(folder, torch.device("cpu"), 5)
    rankings = model.run([each.permute(1, 2, 0).numpy() for each in pixels], 3, want_features=True)
    with torch.inference_mode():
        logits, _, features = network.eval()(normalize(pixels, OWN.mean, OWN.std))
    expected = logits.sigmoid() if activation else logits.softmax(1)
    for ranking, row, probabilities in zip(rankings, features, expected, strict=True):
        assert numpy.allclose(numpy.frombuffer(ranking.features, "<f4"), row, atol=1e-5)
        assert numpy.allclose(ranking.probabilities, probabilities[ranking.indices], atol=1e-5)


@pytest.mark.parametrize(
    ("network", "node", "message"),
    [
        (Good(), "1", "gives a single tensor, in which '1' names no features; let forward return a tuple"),
        (
            WithFeatures(),
            "penultimate",
            "gives a tuple of logits, flat, pooled, in which 'penultimate' names no features",
        ),
        (Unnamed(), "0", "gives a tuple of 3, in which '0' names no features"),
        (Unnamed(), "3", "gives a tuple of 3, in which '3' names no features"),
        (Unnamed(), "1", r"gives features \[1, 3, 8, 6\], but must give \[1, features\]; pool and flatten"),
    ],
)
def test_features_that_there_are_none_of_are_refused_in_one_sentence(
    tmp_path: Path, network: nn.Module, node: str, message: str
) -> None:
    scripted(network).save(str(tmp_path / "model.pt"))
    with pytest.raises(ValueError, match=message):
        import_torchscript(tmp_path / "model.pt", replace(OWN, features=node), tmp_path / "repository", 1)
    assert not (tmp_path / "repository").exists()


def test_a_file_that_is_not_torchscript_is_refused_in_one_sentence(tmp_path: Path) -> None:
    torch.save(Good().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "text.pt").write_text("no model")
    for name in ("weights.pt", "text.pt"):
        with pytest.raises(ValueError, match="is neither TorchScript nor ONNX, but ") as caught:
            import_torchscript(tmp_path / name, OWN, tmp_path, 1)
        assert "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        import_torchscript(tmp_path / "nothing.pt", OWN, tmp_path, 1)


def test_a_version_is_never_overwritten(tmp_path: Path) -> None:
    scripted(Good()).save(str(tmp_path / "model.pt"))
    import_torchscript(tmp_path / "model.pt", OWN, tmp_path, 1)
    with pytest.raises(FileExistsError, match="versions never change"):
        import_torchscript(tmp_path / "model.pt", OWN, tmp_path, 1)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.2,) * 3, "--mean has 1 numbers, but there are 3"),
        ((0.5,) * 3, (0.2, 0, 0.2), "must be above 0"),
        (
            (123.7, 116.3, 103.5),
            (0.2,) * 3,
            "between 0 and 255, not between 0 and 1; divide by 255: --mean 0.4851,0.4561",
        ),
        ((0.0,) * 3, (255.0,) * 3, "--std is 255,255,255, .* divide by 255: --std 1,1,1"),
        ((-0.5,) * 3, (0.2,) * 3, "the mean of pixels between 0 and 1 is not below 0"),
        ((0.5,) * 3, (0.2, float("nan"), 0.2), "--std is 0.2,nan,0.2, but must be finite"),
    ],
)
def test_normalization_must_fit_the_channels_and_pixels_between_0_and_1(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ModelMetadata("mine", SPEC, mean, std, ("a",))


@dataclass(frozen=True)
class Accepted:
    network: nn.Module
    activation: Activation
    then: Callable[[Tensor], Tensor]


@pytest.mark.parametrize(
    "case",
    [
        Accepted(Good(), Activation.SIGMOID, torch.sigmoid),
        Accepted(Good(1), Activation.SIGMOID, torch.sigmoid),
        Accepted(Scores(), Activation.NONE, lambda outputs: outputs),
        Accepted(Probabilities(), Activation.NONE, lambda outputs: outputs),
    ],
    ids=lambda case: f"{type(case.network).__name__} {case.activation}",
)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_independent_scores_and_probabilities_are_served_as_they_are(
    tmp_path: Path, case: Accepted, precision: str
) -> None:
    scripted(case.network).save(str(tmp_path / "model.pt"))
    pixels = torch.cat([check_input(SPEC, str(place)) for place in range(4)])
    with torch.inference_mode():
        expected = case.then(case.network.eval()(normalize(pixels, OWN.mean, OWN.std)))
    metadata = replace(OWN, activation=case.activation, labels=OWN.labels[: expected.shape[1]])
    folder = import_torchscript(tmp_path / "model.pt", metadata, tmp_path / "repository", 1)
    served = load_module(read_artifact(folder), torch.device("cpu"), precision)
    with torch.inference_mode():
        answers = served(pixels)
    assert torch.allclose(answers, expected, atol=1e-6 if precision == "float32" else 0.02)
    assert expected.std() > 0.02, "the test could not tell one answer from another"


def app() -> typer.Typer:
    made = typer.Typer(pretty_exceptions_enable=False)
    made.command("import")(import_)
    made.command("other")(lambda: None)
    return made


def test_import_takes_the_metadata_from_its_options(tmp_path: Path) -> None:
    scripted(Good()).save(str(tmp_path / "model.pt"))
    (tmp_path / "labels").write_text("a\nb\nc\n")
    given = ["import", str(tmp_path / "model.pt"), "--name", "mine", "--labels", str(tmp_path / "labels")]
    given += ["--mean", "0.5,0.4,0.3", "--std", "0.2,0.3,0.4", "--repository", str(tmp_path / "repository")]
    done = CliRunner().invoke(app(), [*given, "--size", "8x6", "--resize", "9", "--interpolation", "bicubic"])
    assert done.exit_code == 0, done.output
    assert done.stdout == f"{tmp_path / 'repository' / 'mine' / '1'}\n"
    assert read_manifest(tmp_path / "repository" / "mine" / "1").input == SPEC
    for wrong, message in (
        (["--size", "big"], "--size is 'big'"),
        (["--size", "8x6", "--mean", "x"], "--mean is 'x'"),
        (["--size", "8x6", "--name", "No Name"], "name is 'No Name'"),
    ):
        failed = CliRunner().invoke(app(), [*given, *wrong])
        assert isinstance(failed.exception, ValueError) and message in str(failed.exception)
