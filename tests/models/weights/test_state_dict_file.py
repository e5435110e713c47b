"""State dicts from files fit by name, or are refused by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tests.models.weights.small_networks import densenet, googlenet, resnet, row
from torch import nn

from linnaeus.models.weights.state_dict_file import weights_from_file


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
