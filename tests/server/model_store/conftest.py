"""A repository with version 1 of model m."""

from pathlib import Path

import pytest
from tests.repositories import add_version


@pytest.fixture
def source(repository: Path) -> Path:
    return repository / "lenet" / "1"


@pytest.fixture
def root(source: Path, tmp_path: Path) -> Path:
    add_version(source, tmp_path, "m", 1, "one ")
    return tmp_path
