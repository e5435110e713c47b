"""Shared by all tests: data and models."""

from pathlib import Path

import pytest
import torch

from linnaeus.models.export.version_folder import export_torchscript
from linnaeus.models.registry import find
from linnaeus.models.training import Digits, load_mnist

ROOT = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips what needs a GPU where there is none."""
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("gpu"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 1 of both default models; tests copy what they want to change."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("lenet", "efficientnet_lite0"):
        export_torchscript(find(name), find(name).bundled_weights(), root, 1)
    return root


@pytest.fixture(scope="session")
def mnist_test() -> Digits:
    """MNIST's 10,000 test digits: from the checkout's neighbour `shared/datasets`, else downloaded to `datasets`."""
    shared = ROOT.parent / "shared" / "datasets"
    return load_mnist(shared if shared.is_dir() else ROOT / "datasets", train=False)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The bundled pictures."""
    return ROOT / "pictures"
