"""Data and models shared by all tests."""

import gzip
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.e2e.forked_server import close_forks

from linnaeus.server.process.openmp import limit_spinning

# PyTorch is imported by the fixtures that need it: pytest's own process runs no test, and its workers wait for it.
if TYPE_CHECKING:
    from linnaeus.models.training import Digits

ROOT = Path(__file__).resolve().parent.parent
pytest_plugins = ("tests.skips",)


def pytest_configure() -> None:
    """Settles what a run of tests needs of its process.

    A cache of its own, threads that do not spin, servers of one process unless a test says otherwise, and SIGINT, which
    background jobs ignore.
    """
    # for the workers, which inherit it: beside each other they would spin away a third of the processor time
    limit_spinning()
    os.environ.setdefault("LINNAEUS_FRONT_ENDS", "0")  # they start in half the processor time
    os.environ.setdefault(
        "LINNAEUS_HTTP_PORT", "-1"
    )  # as ServerProcess has it; for servers that a test starts by itself
    # what another run measured must not decide what this one tests
    if "PYTEST_XDIST_WORKER" not in os.environ:  # workers inherit it
        os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="linnaeus-cache-")
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def ended_forks() -> Iterator[None]:
    """Ends the processes that fork servers after the last test and every other fixture, which may have forked."""
    yield
    close_forks()


@pytest.fixture(scope="session")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with version 1 of both default models; tests copy what they change."""
    from linnaeus.models.export.torchscript import export_torchscript
    from linnaeus.models.registry import find

    root = tmp_path_factory.mktemp("repository")
    for name in ("lenet", "efficientnet_lite0"):
        export_torchscript(find(name), find(name).bundled_weights(), root, 1)
    return root


@pytest.fixture(scope="session")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MNIST folder for `load_mnist`: all 10,000 test digits and 2,000 training digits."""
    root = tmp_path_factory.mktemp("mnist")
    (root / "MNIST" / "raw").mkdir(parents=True)
    for packed in (ROOT / "tests" / "data" / "mnist").glob("*.gz"):
        (root / "MNIST" / "raw" / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    return root


@pytest.fixture(scope="session")
def mnist_test(mnist: Path) -> "Digits":
    """MNIST's 10,000 test digits."""
    from linnaeus.models.training import load_mnist

    return load_mnist(mnist, train=False)


@pytest.fixture(scope="session")
def mnist_train(mnist: Path) -> "Digits":
    """The first 2,000 of MNIST's training digits."""
    from linnaeus.models.training import load_mnist

    return load_mnist(mnist, train=True)


@pytest.fixture(scope="session")
def pictures() -> Path:
    """The bundled pictures."""
    return ROOT / "pictures"


@pytest.fixture
def socket_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket's."""
    with tempfile.TemporaryDirectory(prefix="lin-") as name:
        yield Path(name)
