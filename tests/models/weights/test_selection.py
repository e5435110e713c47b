"""`--weights` selects where the weights come from."""

from pathlib import Path

import pytest
import torch
from tests.models.weights.small_networks import resnet, row

from linnaeus.models.registry import find
from linnaeus.models.weights.selection import available_sources, select_weights


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
