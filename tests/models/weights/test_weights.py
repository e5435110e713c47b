"""Weights come from where the user says, fit by name or are refused by name, and random ones can be told apart."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms import InterpolationMode

from linnaeus.models import labels
from linnaeus.models.labels import read_label_file
from linnaeus.models.manifest import InputSpec
from linnaeus.models.pixel_classifier import eager_classifier, normalize
from linnaeus.models.registry import find
from linnaeus.models.weights.data_dependent_initialization import initialize_from_data, logit_spread
from linnaeus.models.weights.downloads import download_weights
from linnaeus.models.weights.random_weights import random_weights
from linnaeus.models.weights.selection import available_sources, select_weights
from linnaeus.models.weights.state_dict_file import weights_from_file
from linnaeus.models.weights.synthetic_images import synthetic_images
from linnaeus.models.zoo_model import ZooModel

SMALL = InputSpec(channels=3, height=64, width=64, resize=64, interpolation="bilinear")


def row(build: Callable[[int], nn.Module], family: str = "Test") -> ZooModel:
    return ZooModel(
        name="own",
        family=family,
        year=2026,
        build=build,
        input=SMALL,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        labels=labels.digits,
    )


def resnet(classes: int) -> nn.Module:
    return torchvision.models.resnet18(num_classes=classes)


def densenet(classes: int) -> nn.Module:
    return torchvision.models.DenseNet(8, (2, 2), 16, num_classes=classes)


def googlenet(classes: int) -> nn.Module:
    return torchvision.models.googlenet(num_classes=classes, aux_logits=False, init_weights=False)


def sigmoids(classes: int) -> nn.Module:
    """Neither batch norm nor an affine end: distances, as LeNet-5 has them."""

    class Distances(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.codes = nn.Parameter(torch.randn(classes, 84).sign(), requires_grad=False)

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return -(features.unsqueeze(1) - self.codes).square().sum(2)

    layers = [nn.Conv2d(3, 8, 5, 4), nn.Sigmoid(), nn.AvgPool2d(3), nn.Flatten(), nn.Linear(200, 84), nn.Sigmoid()]
    return nn.Sequential(*layers, Distances())


def without_biases(classes: int) -> nn.Module:
    layers = [nn.Conv2d(3, 8, 5, 4, bias=False), nn.ReLU(), nn.LocalResponseNorm(5), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(*layers, nn.Conv2d(8, classes, 2), nn.Flatten())


@pytest.mark.parametrize("build", [resnet, densenet, googlenet, sigmoids, without_biases])
def test_random_logits_over_ten_pictures_spread_between_1_and_10_and_differ(build: Callable[[int], nn.Module]) -> None:
    model = row(build)
    weights = random_weights(model, seed=3)
    assert (weights.source, weights.seed) == ("random", 3)
    network = eager_classifier(model, weights).backbone
    with torch.inference_mode():
        logits = network(normalize(synthetic_images(SMALL, 10, seed=77), model.mean, model.std))
    assert 1 < logit_spread(logits) < 10
    assert len(set(logits.argmax(1).tolist())) > 1, "one class is ahead whatever is seen"


def test_random_weights_are_the_same_for_the_same_seed_only_and_leave_the_callers_luck_alone() -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    one, same, other = (random_weights(find("lenet"), seed).state for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one)


def test_a_network_that_sees_nothing_is_refused() -> None:
    blind = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(RuntimeError, match="same logits to every picture, try another --seed"):
        initialize_from_data(blind, torch.zeros(2, 3, 8, 8))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_files_weights_are_the_ones_that_were_saved(tmp_path: Path, suffix: str) -> None:
    saved = {name: tensor.clone() for name, tensor in row(resnet).network().state_dict().items()}
    path = tmp_path / f"mine{suffix}"
    if suffix == ".safetensors":
        save_file(saved, path)
    else:
        torch.save(saved, path)
    weights = weights_from_file(row(resnet), path)
    assert weights.source == path.name and weights.seed is None
    assert weights.state.keys() == saved.keys()
    assert all(torch.equal(weights.state[name], saved[name]) for name in saved)


def dotted(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    old = {}
    for name, tensor in state.items():
        for part in ("norm1", "norm2", "conv1", "conv2"):
            name = name.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.")
        old[name] = tensor
    return {name: tensor for name, tensor in old.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize(
    ("build", "publish"),
    [
        (densenet, dotted),
        (resnet, lambda state: {f"module.{name}": tensor for name, tensor in state.items()}),
        (resnet, lambda state: {"epoch": torch.tensor(3), "state_dict": state}),
        (googlenet, lambda state: state | {"aux1.conv.conv.weight": torch.ones(1), "aux2.fc2.bias": torch.ones(1)}),
    ],
    ids=["old dotted DenseNet names", "DataParallel", "a checkpoint", "auxiliary heads of GoogLeNet"],
)
def test_published_forms_are_understood(
    tmp_path: Path,
    build: Callable[[int], nn.Module],
    publish: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]],
) -> None:
    model = row(build, "GoogLeNet" if build is googlenet else "Test")
    state = model.network().state_dict()
    published = publish(state)
    assert published.keys() != state.keys()
    torch.save(published, tmp_path / "published.pth")
    loaded = weights_from_file(model, tmp_path / "published.pth").state
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)


def without(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state.items() if key != name}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: without(state, "conv1.weight"), "does not fit own: conv1.weight is missing"),
        (lambda state: {}, "conv1.weight, bn1.weight, bn1.bias and .* more are missing"),
        (lambda state: state | {"extra.weight": torch.ones(1)}, "extra.weight is left over"),
        (lambda state: state | {"aux3.weight": torch.ones(1)}, "aux3.weight is left over"),
        (lambda state: state | {"aux1.weight": torch.ones(1)}, "aux1.weight is left over"),
        (
            lambda state: state | {"conv1.weight": torch.ones(64, 1, 7, 7)},
            "conv1.weight has the shape 64x1x7x7, but must have 64x3x7x7",
        ),
        (
            lambda state: state | {"fc.weight": torch.ones(7, 512), "fc.bias": torch.ones(7)},
            "its head fc.weight tells 7 classes apart, but there are 10 labels",
        ),
        (lambda state: {"state_dict": 5}, "holds no state dict"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    tmp_path: Path, change: Callable[[dict[str, torch.Tensor]], object], message: str
) -> None:
    torch.save(change(row(resnet).network().state_dict()), tmp_path / "wrong.pt")
    with pytest.raises(ValueError, match=message) as caught:
        weights_from_file(row(resnet), tmp_path / "wrong.pt")
    assert "\n" not in str(caught.value)


def test_a_head_for_other_classes_fits_with_as_many_labels(tmp_path: Path) -> None:
    torch.save(resnet(7).state_dict(), tmp_path / "seven.pth")
    assert weights_from_file(row(resnet), tmp_path / "seven.pth", 7).state["fc.bias"].shape == (7,)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    torch.save(resnet(10), tmp_path / "pickled.pth")
    (tmp_path / "text.pt").write_text("no weights")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, message in (
        ("pickled.pth", "no state dict of plain tensors"),
        ("text.pt", "no state dict of plain tensors"),
        ("text.safetensors", "no safetensors file"),
        ("text.onnx", "there is no weights file"),
    ):
        with pytest.raises((ValueError, OSError), match=message) as caught:
            weights_from_file(row(resnet), tmp_path / name)
        assert "\n" not in str(caught.value)
    (tmp_path / "text.onnx").write_text("")
    with pytest.raises(ValueError, match="must end with .pth, .pt or .safetensors"):
        weights_from_file(row(resnet), tmp_path / "text.onnx")


def published_at(url: str) -> ZooModel:
    """Torchvision's enum is closed; this has what it has."""
    preset = SimpleNamespace(
        crop_size=[64], resize_size=[73], mean=(0.4,) * 3, std=(0.3,) * 3, interpolation=InterpolationMode.BICUBIC
    )
    weights = SimpleNamespace(url=url, transforms=lambda: preset)
    return replace(row(resnet), download=lambda: weights)  # type: ignore[arg-type, return-value]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path


def test_a_download_is_loaded_with_the_input_it_was_trained_for(hub: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = resnet(10).state_dict()
    torch.save(state, hub / "published.pth")
    model, weights = download_weights(published_at((hub / "published.pth").as_uri()))
    assert all(torch.equal(weights.state[name], state[name]) for name in state)
    assert (model.input.resize, model.input.interpolation, model.mean) == (73, "bicubic", (0.4,) * 3)
    assert weights.source.startswith("torchvision ")
    told = capfd.readouterr()
    assert "%" in told.err and told.out == "", "a progress bar is promised, on stderr"


def test_without_a_network_a_download_fails_in_one_sentence(hub: Path) -> None:
    nowhere = (hub / "nowhere.pth").as_uri()
    with pytest.raises(OSError, match=r"own cannot be downloaded from file:.*--weights FILE") as caught:
        download_weights(published_at(nowhere), progress=False)
    assert "\n" not in str(caught.value)


def test_what_torchvision_lacks_is_said() -> None:
    with pytest.raises(ValueError, match="torchvision has no weights to download for lenet"):
        select_weights(find("lenet"), "DEFAULT")


def test_a_word_chooses_the_weights(tmp_path: Path) -> None:
    lenet = find("lenet")
    bundled, drawn = select_weights(lenet, "bundled")[1], select_weights(lenet, "random", seed=4)[1]
    assert bundled.source.startswith("MNIST") and drawn.seed == 4
    torch.save(bundled.state, tmp_path / "mine.pt")
    assert select_weights(lenet, str(tmp_path / "mine.pt"))[1].source == "mine.pt"
    assert available_sources(lenet) == ("bundled", "random", "FILE")
    with pytest.raises(ValueError, match="no weights come with own; say --weights random"):
        select_weights(row(resnet), "bundled")
    with pytest.raises(ValueError, match="tells 10 classes apart, but there are 3 labels"):
        select_weights(lenet, "bundled", classes=3)


def test_labels_are_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("\ufeffcat\r\nchien\u00e9 \n\n", encoding="utf-8")
    assert read_label_file(path) == ("cat", "chien\u00e9")
    for content, message in ((b"\n", "no labels in"), (b"a\n\nb", "line 2 is empty"), (b"\xff", "not UTF-8")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            read_label_file(path)


def test_generated_pictures_are_the_same_for_the_same_seed_and_full_of_structure() -> None:
    one = synthetic_images(SMALL, 3, 1)
    assert one.dtype == torch.uint8 and one.shape == (3, 3, 64, 64)
    assert torch.equal(one, synthetic_images(SMALL, 3, 1)) and not torch.equal(one, synthetic_images(SMALL, 3, 2))
    assert one.float().std((2, 3)).min() > 5
