"""torchvision's weights are downloaded, or the failure is one sentence."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from tests.models.weights.small_networks import resnet, row
from torchvision.transforms import InterpolationMode

from linnaeus.models.weights.downloads import download_weights
from linnaeus.models.zoo_model import ZooModel


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
