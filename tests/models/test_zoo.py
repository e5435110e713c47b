"""The zoo's networks are what their papers say, and what is exported computes the same."""

import json
from pathlib import Path

import pytest
import torch

from linnaeus.models import export as export_module
from linnaeus.models.export import export, next_version
from linnaeus.models.manifest import read_labels, read_manifest
from linnaeus.models.registry import find
from linnaeus.models.training import Digits, Recipe, evaluate, train


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # 20 * (25 + 1) + 50 * (20 * 25 + 1) + 500 * (800 + 1) + 10 * (500 + 1)
        ("lenet", 520 + 25_050 + 400_500 + 5_010),
        # Google's published count for EfficientNet-Lite0
        ("efficientnet_lite0", 4_652_008),
    ],
)
def test_parameter_counts_are_exact(name: str, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in find(name).network().parameters()) == parameters


def test_the_published_efficientnet_weights_are_all_used_in_their_places() -> None:
    model = find("efficientnet_lite0")
    assert len(model.bundled_weights().state) == len(model.network().state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        model.network().load_state_dict(dict(list(model.bundled_weights().state.items())[1:]))


def test_an_export_is_whole(repository: Path) -> None:
    for name in ("lenet", "efficientnet_lite0"):
        folder = repository / name / "1"
        assert sorted(path.name for path in folder.iterdir()) == ["labels.txt", "manifest.json", "model.pt"]
        manifest = read_manifest(folder)
        assert (manifest.name, manifest.version, manifest.weights.trained) == (name, 1, True)
        assert len(read_labels(folder, manifest.classes)) == manifest.classes


def test_a_crash_in_the_middle_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(export_module, "_flush", crash)
    with pytest.raises(OSError, match="disk full"):
        export(find("lenet"), find("lenet").bundled_weights(), tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_a_version_is_never_overwritten(repository: Path) -> None:
    before = (repository / "lenet" / "1" / "model.pt").read_bytes()
    with pytest.raises(FileExistsError, match="versions never change"):
        export(find("lenet"), find("lenet").bundled_weights(), repository, 1)
    assert (repository / "lenet" / "1" / "model.pt").read_bytes() == before
    assert next_version(repository, "lenet") == 2
    assert next_version(repository, "unknown") == 1


def test_the_bundled_lenet_reads_at_least_99_percent_of_the_test_digits(mnist_test: Digits) -> None:
    model = find("lenet")
    network = model.network()
    network.load_state_dict(model.bundled_weights().state)
    accuracy = evaluate(network, model, mnist_test)
    assert accuracy >= 0.99
    history = json.loads(Path(export_module.__file__).with_name("weights").joinpath("lenet.json").read_text())
    assert accuracy == pytest.approx(history["epochs"][-1]["test_accuracy"], abs=2e-4)


def test_training_learns_and_is_the_same_for_the_same_seed(mnist_train: Digits, mnist_test: Digits) -> None:
    model = find("lenet")
    learnt, unseen = (Digits(part.pixels[:1000], part.classes[:1000]) for part in (mnist_train, mnist_test))
    epochs = []
    first, history = train(model, learnt, unseen, Recipe(epochs=2, batch_size=50), epochs.append)
    second, _ = train(model, learnt, unseen, Recipe(epochs=2, batch_size=50), lambda _: None)
    assert epochs == history and [epoch.number for epoch in history] == [1, 2]
    assert history[-1].test_accuracy > 0.6
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
