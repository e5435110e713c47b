"""Shared by all tests: data and models."""

import gzip
from pathlib import Path

import pytest

from linnaeus.models.export.torchscript import export_torchscript
from linnaeus.models.registry import find
from linnaeus.models.training import Digits, load_mnist

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ("tests.skips",)


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 1 of both default models; tests copy what they want to change."""
    root = tmp_path_factory.mktemp("repository")
    for name in ("lenet", "efficientnet_lite0"):
        export_torchscript(find(name), find(name).bundled_weights(), root, 1)
    return root


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of MNIST as `load_mnist` reads it: all 10,000 test digits and 2,000 of the training digits."""
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for packed in (ROOT / "tests" / "data" / "mnist").glob("*.gz"):
        (root / "MNIST" / "raw" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return root


@pytest.fixture(scope="session")
def mnist_test(mnist: Path) -> Digits:
    """MNIST's 10,000 test digits."""
    return load_mnist(mnist, train=False)


@pytest.fixture(scope="session")
def mnist_train(mnist: Path) -> Digits:
    """The first 2,000 of MNIST's training digits."""
    return load_mnist(mnist, train=True)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The bundled pictures."""
    return ROOT / "pictures"
