"""Training learns, repeats itself by its seed, says what happened, and leaves whole files or none."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from linnaeus.models import labels, training
from linnaeus.models.manifest import InputSpec
from linnaeus.models.registry import find
from linnaeus.models.training import DataKind, Digits, Epoch, Recipe, run_files, train
from linnaeus.models.training.recipes import _SETUPS
from linnaeus.models.zoo_model import ZooModel

SPEC = InputSpec(channels=3, height=32, width=32, resize=32, interpolation="bilinear")


def tiny(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 5, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(5), nn.Flatten(), nn.Linear(100, classes)
    )


def row(spec: InputSpec = SPEC) -> ZooModel:
    return ZooModel("tiny", "Tiny", 2024, tiny, spec, (0.5,) * 3, (0.5,) * 3, labels.digits)


def test_the_loss_falls_and_the_same_seed_repeats_exactly(mnist_subset: Digits) -> None:
    recipe = Recipe(epochs=3, batch_size=20, peak_learning_rate=1e-2)
    one, first = training.train(row(), mnist_subset, mnist_subset, recipe, lambda _: None)
    two, _ = training.train(row(), mnist_subset, mnist_subset, recipe, lambda _: None)
    other, _ = training.train(row(), mnist_subset, mnist_subset, Recipe(3, 20, 1e-2, seed=1), lambda _: None)
    assert first[-1].training_loss < 0.8 * first[0].training_loss
    assert not one.training
    weights = [torch.cat([p.flatten() for p in network.parameters()]) for network in (one, two, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_learning_is_in_training_mode_and_judging_in_evaluation_mode(mnist_subset: Digits) -> None:
    modes: list[tuple[bool, int]] = []

    class Watching(nn.Module):
        def __init__(self, classes: int) -> None:
            super().__init__()
            self.inner = tiny(classes)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            modes.append((self.training, len(images)))
            logits: torch.Tensor = self.inner(images)
            return logits

    training.train(row(), mnist_subset, mnist_subset, Recipe(epochs=2, batch_size=150), lambda _: None, build=Watching)
    assert modes == [*[(True, 150)] * 2, *[(False, 100)] * 3] * 2


def test_the_auxiliary_heads_count_three_tenths_each() -> None:
    torch.manual_seed(0)
    main, first, second = torch.randn(3, 4, 5).unbind()
    classes = torch.tensor([0, 3, 4, 1])
    one, two, three = (functional.cross_entropy(logits, classes) for logits in (main, first, second))
    torch.testing.assert_close(training.total_loss((main, first, second), classes), one + 0.3 * two + 0.3 * three)
    torch.testing.assert_close(training.total_loss(main, classes), one)


def test_an_interrupted_writing_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(state: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    monkeypatch.setattr(run_files, "plot_learning_curves", lambda *_: None)
    target = tmp_path / "weights.pt"
    target.write_bytes(b"of an earlier run")
    with pytest.raises(KeyboardInterrupt):
        training.save_run(target, nn.Linear(1, 1), {"model": "m", "data": "d"}, [Epoch(1, 1.0, 0.5, 0.5, 1.0)])
    assert [path.name for path in tmp_path.iterdir()] == ["weights.pt"]
    assert target.read_bytes() == b"of an earlier run"


def test_only_networks_with_heads_need_pictures() -> None:
    assert [name for name in _SETUPS if training.training_setup(name).data is DataKind.IMAGE_FOLDERS] == [
        "googlenet_plain"
    ]


def test_training_learns_and_is_the_same_for_the_same_seed(mnist_train: Digits, mnist_test: Digits) -> None:
    model = find("lenet")
    learnt, unseen = (Digits(each.pixels[:1000], each.classes[:1000]) for each in (mnist_train, mnist_test))
    epochs = []
    first, history = train(model, learnt, unseen, Recipe(epochs=2, batch_size=50), epochs.append)
    second, _ = train(model, learnt, unseen, Recipe(epochs=2, batch_size=50), lambda _: None)
    assert epochs == history and [epoch.number for epoch in history] == [1, 2]
    assert history[-1].test_accuracy > 0.6
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
