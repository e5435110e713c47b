"""What the tests of the things around the server share."""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests that use promtool."""
    for item in items:
        if "promtool" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.needs(program="promtool"))


@pytest.fixture(scope="session")
def docker_folder() -> Path:
    return ROOT / "docker"


@pytest.fixture(scope="session")
def promtool(docker_folder: Path) -> Callable[..., None]:
    """Runs promtool in the folder of the rules; what it does not like fails the test with its own words."""
    program = str(shutil.which("promtool"))

    def run(*words: str) -> None:
        command = [program, *words]
        done = subprocess.run(
            command, cwd=docker_folder / "prometheus", capture_output=True, text=True, timeout=110, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    return run
